"""The reads that every process makes after a wake-up: heads and pages, as hand-written SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections

from django_sse.log import transactions
from django_sse.log.base import Head, Record, fitting
from django_sse.log.orm import BATCH, channel_hash
from django_sse.log.statements import statements
from django_sse.wire.cursor import MAX_SEQ

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
    connection = connections[alias]
    hashes = [channel_hash(name) for name in names]
    found: dict[str, Head] = {}
    for start in range(0, len(hashes), BATCH):
        some = hashes[start : start + BATCH]
        for row in _rows(alias, statements(connection).heads(len(some)), some):
            found[row[0]] = Head(*row)
    return found


def page(alias: str, key: int, after: int, limit: int) -> list[Record]:
    """Implement ``EventLog.read``."""
    written = statements(connections[alias])
    # Try with an upper bound first: without table statistics PostgreSQL reads and sorts all later
    # events (a page out of 100,000 took 125 ms instead of 4).
    near = [key, after, min(after + limit, MAX_SEQ)]
    return _page(alias, written.events_up_to, written.sizes_up_to, near, limit) or _page(
        alias, written.events, written.sizes, near[:2], limit
    )


def _page(alias: str, events: str, sizes: str, where: list[int], limit: int) -> list[Record]:
    if limit > _FEW:
        limit = fitting(size for (size,) in _rows(alias, sizes, [*where, limit]))
    return [Record(*row) for row in _rows(alias, events, [*where, limit])] if limit else []
