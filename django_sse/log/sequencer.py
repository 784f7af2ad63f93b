"""The one append routine: every sequence number is assigned here.

It runs a short transaction of its own: lock the channel's row, move the committed outbox events,
append the new ones, move the head. The row is locked *before* anything is read, so that the holder
sees all events sequenced before. Several channels are locked in primary-key order, so that no two
publishers wait for each other. If the outbox is large, several transactions that only move parts of
it come first, so that none is long or needs much memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections

from django_sse.exceptions import ChannelFinished
from django_sse.log import keys, transactions
from django_sse.log.base import TERMINAL, Appended, Entry, Record, new_record, report_dropped
from django_sse.log.keys import NewKey
from django_sse.log.orm import DatabaseNow, channel_hash, insert, refuse_over_packet
from django_sse.log.outbox import move_outboxes
from django_sse.log.statements import statements
from django_sse.models import Channel
from django_sse.wire.cursor import MAX_SEQ, make_epoch, make_nonce, tag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

T = TypeVar("T")

# The number of channels that one transaction locks to move their outbox events. A transaction that
# moves a part of the outbox must not lock all of a publisher's channels.
MOVED_CHANNELS = 250


def make_channels(alias: str, names: Iterable[str]) -> None:
    """Create the rows of the channels ``names`` that do not exist yet.

    Never inside the append's own transaction, which would hold its locks while an insert waits for
    another. Sorted, because two inserts of the same names in opposite order would deadlock.
    """
    now = DatabaseNow()
    rows = [
        Channel(
            name=name,
            name_hash=channel_hash(name),
            epoch=make_epoch(),
            created=now,
        )
        for name in sorted(names)
    ]
    Channel.objects.using(alias).bulk_create(rows, ignore_conflicts=True)


def sequence_outbox(alias: str, names: Iterable[str], *, wait: bool = True) -> list[Appended]:
    """Sequence the outbox events of the channels ``names``.

    Without ``wait`` locked channels are skipped, if the database supports that.
    """
    hashes = {channel_hash(name): name for name in names}

    def waiting() -> list[str]:
        with connections[alias].cursor() as cursor:
            cursor.execute(statements(cursor.db).waiting(len(hashes)), list(hashes))
            return [hashes[found] for (found,) in cursor.fetchall()]

    found = transactions.run(alias, waiting)
    if not found:
        return []
    if not wait:
        wait = not transactions.run(alias, lambda: _prepare_to_skip(alias, found))
    appended: list[Appended] = []
    for start in range(0, len(found), MOVED_CHANNELS):
        some = found[start : start + MOVED_CHANNELS]
        appended += sequence(alias, some, lambda locked: None, wait=wait)[0]
    return appended


def _prepare_to_skip(alias: str, names: Sequence[str]) -> bool:
    """Return whether the database can skip locked rows, after creating the missing rows.

    A missing row would look like one that was skipped.
    """
    if not connections[alias].features.has_select_for_update_skip_locked:
        return False
    hashes = {channel_hash(name): name for name in names}
    rows = Channel.objects.using(alias).filter(name_hash__in=hashes)
    there = set(rows.values_list("name_hash", flat=True))
    # Only the missing ones: on MariaDB an insert waits if the row exists and is locked.
    make_channels(alias, [name for each, name in hashes.items() if each not in there])
    return True


def sequence(
    alias: str,
    names: Iterable[str],
    take: Callable[[Mapping[str, Locked]], T],
    before_commit: Callable[[], object] = lambda: None,
    *,
    wait: bool = True,
    never_make: Collection[str] = (),
) -> tuple[list[Appended], T]:
    """Lock the channels ``names``, sequence their outbox events, call ``take``, and commit.

    ``take`` appends its entries to the locked channels. Returns the events that were appended, and
    the result of ``take``. Without ``wait`` only channels that exist and are not locked are
    sequenced. Channels that do not exist are created, except those to ``never_make``: they are
    missing from what ``take`` gets.

    ``take`` may be called several times, each time with freshly locked channels. An error that it
    raises rolls its transaction back. After an error that follows ``before_commit`` everything may
    nevertheless be committed.
    """
    names = list(names)
    needed = {name for name in names if name not in never_make} if wait else set()
    attempt = partial(_attempt, alias, names, take, before_commit, needed, wait=wait)
    appended: dict[str, Appended] = {}
    taken: list[T] = []
    while not taken:
        done = transactions.run(alias, attempt)
        if done is None:
            transactions.run(alias, lambda: make_channels(alias, needed))
            continue
        channels, taken = done
        appended |= _committed(channels)
        if not taken and len(names) > MOVED_CHANNELS:
            appended |= {each.channel: each for each in sequence_outbox(alias, names)}
    return list(appended.values()), taken[0]


def _attempt(
    alias: str,
    names: Sequence[str],
    take: Callable[[Mapping[str, Locked]], T],
    before_commit: Callable[[], object],
    needed: Set[str],
    *,
    wait: bool,
) -> tuple[list[Locked], list[T]] | None:
    """Run one transaction; return its channels and a list with the result of ``take``.

    The list is empty if only a part of the outbox was moved. Returns None if one of the channels
    ``needed`` must be created first.
    """
    with transactions.read_committed(alias), connections[alias].cursor() as cursor:
        locked = _lock(cursor, names, wait=wait)
        if len(locked) < len(names) and not needed <= locked.keys():
            return None
        taken: list[T] = []
        if move_outboxes(cursor, locked.values()):
            taken.append(take(locked))
        _write(cursor, [each for each in locked.values() if each.records])
        if taken:
            before_commit()
        return list(locked.values()), taken


def _committed(channels: Iterable[Locked]) -> dict[str, Appended]:
    """Return the events that a transaction sequenced, by channel; report those that it dropped."""
    appended: dict[str, Appended] = {}
    for channel in channels:
        if channel.dropped:
            report_dropped(channel.name, channel.dropped)
        if channel.records:
            appended[channel.name] = channel.appended()
    return appended


@dataclass(slots=True)
class Locked:
    """A channel whose row this transaction has locked, and the records to write."""

    key: int
    name: str
    name_hash: str
    epoch: str
    head: int
    tag: str
    state: str
    pending: bool
    created: Any
    """The time at which its new events are created, in the database's form; see
    ``Statements.lock``."""
    clock: Any
    nonce: int
    """The random number of the new events: one for a transaction, so that the heads of channels
    that move alike are written together."""
    records: list[Record] = field(default_factory=list)
    dropped: int = 0
    before: str = ""
    """The tag of the event before the new ones."""
    ids: dict[str, str] = field(default_factory=dict)
    """The ids of events with keys, by the key's hash: of those that were looked up, and of new
    ones."""
    new_keys: list[NewKey] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.before = self.tag

    def refuse_beyond_last(self, count: int) -> None:
        """Raise ``ChannelFinished`` if there are not ``count`` numbers left."""
        if self.head + count > MAX_SEQ:
            raise ChannelFinished(
                f"The channel {self.name!r} has used its last number ({MAX_SEQ}). Nothing can be "
                "published to it any more: use another channel."
            )

    def append(self, entry: Entry) -> str:
        """Number ``entry`` and return its id."""
        (id,) = self.extend([entry])
        return id

    def extend(self, entries: Sequence[Entry]) -> list[str]:
        """Number ``entries``, of which only the last may be terminal, and return their ids."""
        if self.state:
            raise ChannelFinished.of(self.name, self.state)
        first, nonce = self.head + 1, self.nonce
        self.records += [
            new_record((seq, each.type, each.data, each.kind, nonce))
            for seq, each in enumerate(entries, first)
        ]
        self.head += len(entries)
        self.tag = tag_of(nonce)
        if entries[-1].kind == TERMINAL:
            self.state = entries[-1].state
        return [f"{self.epoch}-{seq}-{self.tag}" for seq in range(first, self.head + 1)]

    def move(self, type: str, data: str, kind: int, state: str, key_hash: str) -> None:
        """Number an event of the outbox, unless it was published; drop it if the channel has
        ended."""
        if key_hash in self.ids:
            return
        if self.state or self.head == MAX_SEQ:
            self.dropped += 1
        else:
            keys.append(self, Entry(self.name, type, data, kind, state, key_hash))

    def appended(self) -> Appended:
        return Appended(self.name, self.epoch, self.before, self.records, self.key)


def _is_deferred(connection: BaseDatabaseWrapper) -> bool:
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode")
    return mode is None or mode.upper() == "DEFERRED"


def _lock(cursor: CursorWrapper, names: Sequence[str], *, wait: bool) -> dict[str, Locked]:
    """Lock the rows of ``names``; rows that do not exist are missing from the result."""
    connection = cursor.db
    written = statements(connection)
    field, values = "name_hash", [channel_hash(name) for name in names]
    if connection.vendor == "sqlite" and _is_deferred(connection):
        # In a deferred transaction SQLite immediately refuses to turn a reader into a writer if
        # another connection has written meanwhile. A write as the first statement waits its turn.
        cursor.execute(written.touch(len(values)), values)
    if connection.vendor == "mysql" and len(names) > 1:
        # InnoDB locks rows in the order of the index that it reads: the hash's for few channels,
        # the primary key for many. With the keys in the query it is always the primary key.
        cursor.execute(written.keys(len(values)), values)
        field, values = "id", [key for (key,) in cursor.fetchall()]
    sql = written.lock(field, len(values), wait=wait)
    locked = _fetch_locked(cursor, sql, values)
    if any(each.created is None for each in locked):
        # While this statement waited, another transaction held the row and appended an event that
        # the statement cannot see. The rows are locked now, so a new statement sees everything.
        locked = _fetch_locked(cursor, sql, values)
    return {each.name: each for each in locked}


def _fetch_locked(cursor: CursorWrapper, sql: str, values: Sequence[Any]) -> list[Locked]:
    cursor.execute(sql, values)
    nonce = make_nonce()
    return [Locked(*[*row, nonce]) for row in cursor.fetchall()]


def _write(cursor: CursorWrapper, channels: Sequence[Locked]) -> None:
    if not channels:
        return
    keys.store(cursor, channels)
    written = statements(cursor.db)
    if written.append is not None:
        cursor.execute(written.append, _as_json(channels))
        return
    rows = [
        (each.key, r.seq, r.kind, r.type, each.created or each.clock, r.nonce, r.data)
        for each in channels
        for r in each.records
    ]
    refuse_over_packet(cursor, (row[-1] for row in rows))
    insert(cursor, written.insert_event, rows)
    # One statement for all channels that move by the same count: most move by one event.
    alike: dict[tuple[int, str, str], list[int]] = {}
    for each in channels:
        alike.setdefault((len(each.records), each.state, each.tag), []).append(each.key)
    for moved, channel_keys in alike.items():
        cursor.execute(written.move_heads(len(channel_keys)), [*moved, *channel_keys])


def _as_json(channels: Sequence[Locked]) -> list[str]:
    """Return the parameters of ``Statements.append``."""
    moved = [
        {
            "key": each.key,
            "more": len(each.records),
            "state": each.state,
            "created": each.created or each.clock,
            "nonce": each.nonce,
            "tag": each.tag,
        }
        for each in channels
    ]
    added = [
        {"key": each.key, "seq": r.seq, "kind": r.kind, "type": r.type, "data": r.data}
        for each in channels
        for r in each.records
    ]
    return [json.dumps(moved), json.dumps(added, ensure_ascii=False)]
