"""The keys of events: a publish that is repeated with its key adds no second event.

An append looks up and stores keys in its own transaction, while it holds the lock of the channel's
row, and only if one of its entries has a key. A key names its event for ``KEY_AGE``, even if the
event is no longer stored. After that a new event takes over its row, or ``remove_old`` removes it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from django.db import connections
from django.db.models import Q

from django_sse.log import transactions
from django_sse.log.base import KEY_AGE, Entry
from django_sse.log.orm import BATCH, DatabaseNow, batches, channel_hash, insert
from django_sse.log.statements import statements
from django_sse.models import EventKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from django.db.backends.utils import CursorWrapper

    from django_sse.log.locked import Locked


class NewKey(NamedTuple):
    """The hash of a key, and the event that was numbered with it."""

    key_hash: str
    seq: int
    tag: str


def hashes(groups: Iterable[Sequence[Entry]]) -> list[str]:
    """Return the hashes of the entries' keys."""
    return [entry.key_hash for group in groups for entry in group if entry.key_hash]


def look_up(cursor: CursorWrapper, channels: Iterable[Locked], wanted: Sequence[str]) -> None:
    """Note in ``channels`` which events have the keys with the ``wanted`` hashes."""
    if not wanted:
        return
    by_row = {each.key: each for each in channels}
    for some in batches(wanted):
        cursor.execute(statements(cursor.db).keys_of_events(len(some)), some)
        for key_hash, row, seq, tag in cursor.fetchall():
            # A key with another row is of an earlier channel with this name, which was removed.
            if channel := by_row.get(row):
                channel.ids[key_hash] = f"{channel.epoch}-{seq}-{tag}"


def unpublished(entries: Sequence[Entry], is_published: Callable[[Entry], bool]) -> Sequence[Entry]:
    """Return the ``entries`` without a key, and those with a key that no event has."""
    if not hashes([entries]):
        return entries
    return [each for each in entries if not each.key_hash or not is_published(each)]


def append(channel: Locked, entry: Entry) -> str:
    """Number ``entry``, unless an event has its key, and return the event's id."""
    if entry.key_hash in channel.ids:
        return channel.ids[entry.key_hash]
    id = channel.append(entry)
    if entry.key_hash:
        channel.ids[entry.key_hash] = id
        channel.new_keys.append(NewKey(entry.key_hash, channel.head, channel.tag))
    return id


def store(cursor: CursorWrapper, channels: Iterable[Locked]) -> None:
    """Insert the keys of the new events of ``channels``."""
    rows = [
        (new.key_hash, each.key, new.seq, new.tag, each.clock)
        for each in channels
        for new in each.new_keys
    ]
    if rows:
        insert(cursor, statements(cursor.db).store_key, rows)


def unseen(alias: str, entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return the ``unpublished`` entries, as the caller's transaction sees log and outbox."""
    seen = _seen(alias, entries) if hashes([entries]) else ()
    return unpublished(entries, lambda entry: entry.key_hash in seen)


def _seen(alias: str, entries: Sequence[Entry]) -> set[str]:
    wanted = hashes([entries])
    names = {channel_hash(each.channel) for each in entries if each.key_hash}
    with connections[alias].cursor() as cursor:
        written = statements(cursor.db)
        cursor.execute(written.keys_of_events(len(wanted)), wanted)
        found = {key_hash for key_hash, *_ in cursor.fetchall()}
        cursor.execute(written.deferred_keys(len(names), len(wanted)), [*names, *wanted])
        return found.union(key_hash for (key_hash,) in cursor.fetchall())


def remove_old(alias: str) -> int:
    """Remove the keys that are older than ``KEY_AGE``, in bounded batches; return how many.

    Removes also those that a clock of the distant future has stored.
    """
    rows = EventKey.objects.using(alias)
    times = Q(created__lt=DatabaseNow(ago=KEY_AGE)) | Q(created__gt=DatabaseNow(ago=-KEY_AGE))
    old = rows.filter(times).order_by("created")

    def remove() -> int:
        some = list(old.values_list("pk", flat=True)[:BATCH])
        # Compare the age again: a publish may have taken over a row meanwhile.
        return old.order_by().filter(pk__in=some).delete()[0] if some else 0

    removed = 0
    while count := transactions.run(alias, remove):
        removed += count
    return removed


class KeysInMemory:
    """The ids of events by the hashes of their keys, the oldest first."""

    def __init__(self) -> None:
        self._ids: dict[str, tuple[str, float]] = {}

    def add(self, key_hash: str, id: str) -> None:
        # A process may run for months, and nothing else removes old keys.
        self.remove_old()
        self._ids[key_hash] = (id, time.monotonic())

    def id_of(self, key_hash: str) -> str | None:
        id, created = self._ids.get(key_hash, (None, 0.0))
        return id if time.monotonic() - created < KEY_AGE else None

    def remove_old(self) -> int:
        before = len(self._ids)
        while self._ids and self.id_of(oldest := next(iter(self._ids))) is None:
            del self._ids[oldest]
        return before - len(self._ids)

    def clear(self) -> None:
        self._ids.clear()
