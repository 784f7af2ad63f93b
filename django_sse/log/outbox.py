"""The outbox: events enter it with the caller's transaction, and leave it in order for the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections, transaction

from django_sse.log import keys
from django_sse.log.base import Entry, Kind, State
from django_sse.log.orm import channel_hash, insert, refuse_over_packet
from django_sse.log.statements import statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.backends.utils import CursorWrapper

    from django_sse.log.locked import Locked

# The most that one transaction moves from the outbox: as much as group_commit appends in one, and
# at least one event. The transaction's channels stay locked until it ends.
MOVED_EVENTS = 500
MOVED_CHARACTERS = 1 << 20


def ends(alias: str, names: Sequence[str]) -> dict[str, str]:
    """Return the states of the channels ``names`` whose end this transaction can see.

    The end may be sequenced, or still in the outbox.
    """
    hashes = [channel_hash(name) for name in names]
    with connections[alias].cursor() as cursor:
        sql = statements(cursor.db).ends(len(hashes))
        cursor.execute(sql, [*hashes, State.OPEN.value, *hashes, Kind.TERMINAL.value])
        return dict(cursor.fetchall())


def add(alias: str, entries: Sequence[Entry]) -> None:
    """Insert ``entries``. Raises ``EventTooLarge``."""
    rows = [
        (e.channel, channel_hash(e.channel), e.kind, e.state, e.type, e.data, e.key_hash)
        for e in entries
    ]
    with connections[alias].cursor() as cursor:
        # Outside the block: an error before anything is written leaves the caller's transaction
        # usable.
        refuse_over_packet(cursor, (each.data for each in entries))
        # Without a savepoint: if the insert fails halfway, the transaction must not be committed
        # with a part of the events, even if the caller ignores the error.
        with transaction.atomic(using=alias, savepoint=False):
            insert(cursor, statements(cursor.db).insert_deferred, rows)


@dataclass(slots=True)
class _Room:
    """The number of events and characters that one transaction may still move."""

    events: int
    characters: int
    whole: bool = True
    """Whether nothing was moved yet; the first event is moved whatever its size."""

    def fit(self, sizes: Sequence[int]) -> int:
        """Take room for the first of the events with these ``sizes``; return how many fit."""
        for count, size in enumerate(sizes):
            if not self.whole and (self.events < 1 or size > self.characters):
                return count
            self.whole = False
            self.events -= 1
            self.characters -= size
        return len(sizes)


def move_outboxes(cursor: CursorWrapper, channels: Iterable[Locked]) -> bool:
    """Move the outbox events of ``channels`` to the log, within the limits of one transaction.

    Returns whether all of them were moved. A channel that has more is then ``behind``.
    """
    room = _Room(MOVED_EVENTS, MOVED_CHARACTERS)
    pending = [each for each in channels if each.pending]
    for each in pending:
        each.behind = not _move_outbox(cursor, each, room)
    return not any(each.behind for each in pending)


def _move_outbox(cursor: CursorWrapper, channel: Locked, room: _Room) -> bool:
    """Number and remove the channel's committed outbox rows, by id, while there is room.

    Returns whether all of them were moved. Only the transaction that holds the channel's row
    removes its outbox rows, so exactly the rows that were read are deleted.
    """
    if room.events < 1:
        return False
    written = statements(cursor.db)
    cursor.execute(written.outbox_sizes, [channel.name_hash, room.events + 1])
    sizes = cursor.fetchall()
    count = room.fit([size for _, size in sizes])
    if not count:
        return not sizes
    # Limited by the last id, not by the count: an event committed meanwhile may have a lower id.
    cursor.execute(written.outbox_events, [channel.name_hash, sizes[count - 1][0]])
    rows = cursor.fetchall()
    keys.look_up(cursor, [channel], [row[-1] for row in rows if row[-1]])
    ids = []
    for pk, *event in rows:
        ids.append(pk)
        channel.move(*event)
    cursor.execute(written.remove_from_outbox(len(ids)), ids)
    if cursor.rowcount != len(ids):
        raise RuntimeError(
            f"Software other than django_sse changed the outbox of the channel {channel.name!r}. "
            "Do not write to the table of OutboxEvent."
        )
    return count == len(sizes)
