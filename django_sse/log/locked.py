"""Channels that a transaction has locked: reading them, numbering events, and writing them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django_sse.exceptions import ChannelFinished
from django_sse.log import keys, locking
from django_sse.log.base import TERMINAL, Appended, Entry, Record, new_record
from django_sse.log.keys import NewKey
from django_sse.log.orm import channel_hash, insert, refuse_over_packet
from django_sse.log.rules import report_dropped
from django_sse.log.statements import statements
from django_sse.wire.cursor import MAX_SEQ, make_nonce, tag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

# Columns of ``Statements.lock``.
_HASH, _CREATED = 2, 8


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
    """The random number of the new events. A transaction has one for all channels, so that one
    statement can move the heads of many."""
    records: list[Record] = field(default_factory=list)
    dropped: int = 0
    before: str = ""
    """The tag of the event before the new ones."""
    ids: dict[str, str] = field(default_factory=dict)
    """The ids of events by the hashes of their keys: the events that were looked up, and the new
    ones."""
    new_keys: list[NewKey] = field(default_factory=list)
    behind: bool = False
    """Whether the outbox has more of its events than one transaction moves."""

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
        """Number an event of the outbox, unless an event has its key; drop it if the channel has
        ended."""
        if key_hash in self.ids:
            return
        if self.state or self.head == MAX_SEQ:
            self.dropped += 1
        else:
            keys.append(self, Entry(self.name, type, data, kind, state, key_hash))

    def appended(self) -> Appended:
        return Appended(self.name, self.epoch, self.before, self.records, self.key)


def lock_first(
    cursor: CursorWrapper, first: str, nonce: int, *, at_once: bool
) -> dict[str, Locked]:
    written = statements(cursor.db)
    if not at_once and not written.has_own_wait:
        # Usually the row is free, and then there is no wait to bound.
        locked = fetch(cursor, written.lock_free, [first], nonce)
        if locked:
            return locked
    locking.bound(cursor)
    return fetch(cursor, written.lock, [first], nonce)


def lock_all(cursor: CursorWrapper, names: Sequence[str]) -> dict[str, Locked]:
    connection = cursor.db
    written = statements(connection)
    if connection.vendor == "sqlite" and _is_deferred(connection):
        # In a deferred transaction SQLite immediately refuses to turn a reader into a writer if
        # another connection has written meanwhile. A write as the first statement waits its turn.
        cursor.execute(written.touch(len(names)), [channel_hash(name) for name in names])
    return fetch(cursor, written.lock, names, make_nonce())


def lock_unlocked(cursor: CursorWrapper, names: Sequence[str]) -> dict[str, Locked]:
    """Lock those channels that no other transaction has locked.

    If the database cannot skip locked rows, it waits for all.
    """
    written = statements(cursor.db)
    if not written.skips_locked:
        return lock_all(cursor, names)
    return fetch(cursor, written.lock_free, names, make_nonce())


def _is_deferred(connection: BaseDatabaseWrapper) -> bool:
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode")
    return mode is None or mode.upper() == "DEFERRED"


def fetch(
    cursor: CursorWrapper, sql: Callable[[int], str], names: Sequence[str], nonce: int
) -> dict[str, Locked]:
    if not names:
        return {}
    values = [channel_hash(name) for name in names]
    cursor.execute(sql(len(values)), values)
    rows = cursor.fetchall()
    if any(row[_CREATED] is None for row in rows):
        # While this statement waited, another transaction held the row and appended an event that
        # the statement cannot see. The rows are locked now, so a new statement sees everything.
        values = [row[_HASH] for row in rows]
        cursor.execute(sql(len(values)), values)
        rows = cursor.fetchall()
    locked = [Locked(*[*row, nonce]) for row in rows]
    return {each.name: each for each in locked}


def committed(channels: Iterable[Locked]) -> dict[str, Appended]:
    """Return the events that a transaction sequenced, by channel; report those that it dropped."""
    appended: dict[str, Appended] = {}
    for channel in channels:
        if channel.dropped:
            report_dropped(channel.name, channel.dropped)
        if channel.records:
            appended[channel.name] = channel.appended()
    return appended


def write(cursor: CursorWrapper, channels: Sequence[Locked]) -> None:
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
