"""The reads that every process makes after a wake-up: heads and pages, as hand-written SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections

from django_sse.log import transactions
from django_sse.log.base import Head, Page, new_record
from django_sse.log.orm import batches, channel_hash
from django_sse.log.rules import fitting
from django_sse.log.statements import statements
from django_sse.wire.cursor import MAX_SEQ, NO_TAG, tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A page of up to this many events, as most wake-ups bring, is read without measuring it first.
_FEW = 8


def _rows(alias: str, sql: str, params: Sequence[Any]) -> list[Any]:
    def fetch() -> list[Any]:
        with connections[alias].cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())

    return transactions.run(alias, fetch)


def heads(alias: str, names: Iterable[str]) -> dict[str, Head]:
    """Implement ``EventLog.heads``."""
    hashes = [channel_hash(name) for name in names]
    found: dict[str, Head] = {}
    for some in batches(hashes):
        for row in _rows(alias, statements(connections[alias]).heads(len(some)), some):
            found[row[0]] = Head(*row)
    return found


def tag(alias: str, key: int, seq: int) -> str | None:
    """Implement ``EventLog.tag``."""
    rows = _rows(alias, statements(connections[alias]).nonce, [key, seq])
    return tag_of(rows[0][0]) if rows else None


def minute(alias: str) -> int:
    """Implement ``EventLog.minute``."""
    ((seconds,),) = _rows(alias, statements(connections[alias]).clock, [])
    return int(seconds) // 60


def page(alias: str, key: int, after: int, limit: int) -> Page:
    """Implement ``EventLog.read``."""
    written = statements(connections[alias])
    # Try with an upper bound first: without table statistics PostgreSQL reads and sorts all later
    # events (a page out of 100,000 took 125 ms instead of 4).
    near = [key, after, min(after + limit, MAX_SEQ)]
    found = _page(alias, written.events_up_to, written.sizes_up_to, near, limit)
    if not found.records:
        found = _page(alias, written.events, written.sizes, near[:2], limit)
    return found


def _page(alias: str, events: str, sizes: str, where: list[int], limit: int) -> Page:
    after = where[1]
    if limit > _FEW:
        limit = fitting(size for (size,) in _rows(alias, sizes, [*where, limit]))
    # One more, for the event before them: its tag shows whether they follow the reader's position.
    rows = _rows(alias, events, [after, *where, limit + 1])
    records = [new_record(row) for row in rows]
    tag = None if after else NO_TAG
    if records and records[0].seq == after:
        tag = tag_of(records.pop(0).nonce)
    return Page(tag, records[:limit])
