"""Handing events over with the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections, transaction

from django_sse.log.base import Entry, Kind, State
from django_sse.log.orm import insert, refuse_over_packet
from django_sse.log.sequencer import channel_hash
from django_sse.log.statements import statements

if TYPE_CHECKING:
    from collections.abc import Sequence


def ends(alias: str, names: Sequence[str]) -> dict[str, str]:
    """The states of those of ``names`` whose end this transaction can see: sequenced, or waiting
    for it in the outbox."""
    hashes = [channel_hash(name) for name in names]
    with connections[alias].cursor() as cursor:
        sql = statements(cursor.db).ends(len(hashes))
        cursor.execute(sql, [*hashes, State.OPEN.value, *hashes, Kind.TERMINAL.value])
        return dict(cursor.fetchall())


def add(alias: str, entries: Sequence[Entry]) -> None:
    """Insert ``entries``. Raises ``EventTooLarge``."""
    rows = [(e.channel, channel_hash(e.channel), e.kind, e.state, e.type, e.data) for e in entries]
    with connections[alias].cursor() as cursor:
        # Outside the block: nothing was written, so the caller's transaction is as good as before.
        refuse_over_packet(cursor, (each.data for each in entries))
        # Without a savepoint: one that fails in the middle must not be committed in part, even
        # where the caller goes on.
        with transaction.atomic(using=alias, savepoint=False):
            insert(cursor, statements(cursor.db).insert_deferred, rows)
