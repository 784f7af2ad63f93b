"""The outbox: events enter it with the caller's transaction, and leave it in order for the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections, transaction

from django_sse.log.base import Entry, Kind, State
from django_sse.log.orm import channel_hash, insert, refuse_over_packet
from django_sse.log.statements import statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.backends.utils import CursorWrapper

    from django_sse.log.sequencer import Locked

# What one transaction moves from the outbox: as much as group_commit appends in one, and one event
# at least. Its channels are locked to its end.
MOVED_EVENTS = 500
MOVED_CHARACTERS = 1 << 20


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


@dataclass(slots=True)
class _Room:
    """What one transaction may still move."""

    events: int
    characters: int
    whole: bool = True
    """Whether nothing was moved yet: then one event is, whatever its size."""

    def fit(self, sizes: Sequence[int]) -> int:
        """How many of the events of these ``sizes`` are moved, the first ones."""
        for count, size in enumerate(sizes):
            if not self.whole and (self.events < 1 or size > self.characters):
                return count
            self.whole = False
            self.events -= 1
            self.characters -= size
        return len(sizes)


def move_outboxes(cursor: CursorWrapper, channels: Iterable[Locked]) -> bool:
    """Number what waits in the outbox for ``channels``, up to the bounds of one transaction;
    whether that is all."""
    room = _Room(MOVED_EVENTS, MOVED_CHARACTERS)
    return all(_move_outbox(cursor, each, room) for each in channels if each.pending)


def _move_outbox(cursor: CursorWrapper, channel: Locked, room: _Room) -> bool:
    """Number the channel's committed outbox rows by id and remove them, as many as there is room
    for; whether that is all.

    Only who holds the channel's row removes its outbox rows, so what is deleted is what was read.
    """
    if room.events < 1:
        return False
    written = statements(cursor.db)
    cursor.execute(written.outbox_sizes, [channel.name_hash, room.events + 1])
    sizes = cursor.fetchall()
    count = room.fit([size for _, size in sizes])
    if not count:
        return not sizes
    # By the last id and not by their number: what was committed meanwhile may have a lower one.
    cursor.execute(written.outbox_events, [channel.name_hash, sizes[count - 1][0]])
    ids = []
    for pk, *event in cursor.fetchall():
        ids.append(pk)
        channel.move(*event)
    cursor.execute(written.remove_from_outbox(len(ids)), ids)
    if cursor.rowcount != len(ids):
        raise RuntimeError(
            f"The outbox of {channel.name!r} was changed by something else than django_sse."
        )
    return count == len(sizes)
