"""The one append routine: every sequence number is assigned here.

It runs a short transaction of its own: lock the channel's row, move the committed outbox events,
append the new ones, move the head. The row is locked *before* anything is read, so that the holder
sees all events sequenced before. Several channels are locked in primary-key order, so that no two
publishers wait for each other. If the outbox is large, several transactions that only move parts of
it come first, so that none is long or needs much memory.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

from django.db import connections, transaction

from django_sse.exceptions import ChannelFinished
from django_sse.log import keys, locking, transactions
from django_sse.log.base import (
    TERMINAL,
    Appended,
    ChannelLocked,
    Entry,
    Record,
    new_record,
    report_dropped,
)
from django_sse.log.keys import NewKey
from django_sse.log.orm import DatabaseNow, channel_hash, insert, refuse_over_packet
from django_sse.log.outbox import move_outboxes
from django_sse.log.statements import LOCK_STEP, statements
from django_sse.models import Channel
from django_sse.wire.cursor import MAX_SEQ, make_epoch, make_nonce, tag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

T = TypeVar("T")
Take: TypeAlias = "Callable[[Mapping[str, Locked], Collection[str]], T]"

logger = logging.getLogger("django_sse")

# The number of channels that one transaction locks to move their outbox events. A transaction that
# moves a part of the outbox must not lock all of a publisher's channels.
MOVED_CHANNELS = 250
# Columns of ``Statements.lock``.
_HASH, _CREATED = 2, 8
# Seconds that the creation of a channel waits for another that creates it; none on MariaDB.
_MAKE_WAIT = 0.05
# The number of channels that a log message names.
_NAMED = 10


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


def make_absent(alias: str, names: Iterable[str]) -> list[str]:
    """Create the channels ``names``; return those that another transaction is creating.

    That takes a transaction of the library's a moment, and one that is stuck for ever.
    """
    names = sorted(names)

    def make() -> None:
        with locking.bounded(alias, _MAKE_WAIT), connections[alias].cursor() as cursor:
            locking.bound(cursor, _MAKE_WAIT)
            make_channels(alias, names)

    try:
        if names:
            transactions.run(alias, make)
    except locking.StillLocked:
        if len(names) == 1:
            return names
        # None of them was created, because of one.
        return [each for name in names for each in make_absent(alias, [name])]
    return []


def sequence_outbox(alias: str, names: Iterable[str], *, wait: float = 0.0) -> list[Appended]:
    """Sequence the outbox events of the channels ``names``.

    Waits for those that are locked, one after the other and at most ``wait`` seconds for all of
    them; then they are skipped.
    """
    ends = time.monotonic() + wait
    left = transactions.run(alias, lambda: _waiting(alias, list(names)))
    appended, left = _sequence_free(alias, left)
    while left and time.monotonic() < ends:
        first, *others = left
        with suppress(ChannelLocked):
            done, _ = sequence(alias, [first], _take_nothing, wait=LOCK_STEP, first=first)
            appended |= {each.channel: each for each in done}
            left = others
        if left and left[0] == first:
            left = [*others, first]
        more, left = _sequence_free(alias, left)
        appended |= more
    if left and wait:
        logger.info(
            "Other transactions lock %s: their committed events are left to the safety poll.",
            ", ".join(map(repr, left[:_NAMED])),
        )
    return list(appended.values())


def _waiting(alias: str, names: Sequence[str]) -> list[str]:
    """Return those of the channels ``names`` that have events in the outbox."""
    hashes = {channel_hash(name): name for name in names}
    with connections[alias].cursor() as cursor:
        cursor.execute(statements(cursor.db).waiting(len(hashes)), list(hashes))
        return [hashes[found] for (found,) in cursor.fetchall()]


def _sequence_free(alias: str, names: Sequence[str]) -> tuple[dict[str, Appended], list[str]]:
    """Sequence the outbox events of those channels that nobody has locked.

    Returns what was sequenced, by channel, and the channels that are locked.
    """
    appended: dict[str, Appended] = {}
    left: list[str] = []
    for start in range(0, len(names), MOVED_CHANNELS):
        some: Sequence[str] = names[start : start + MOVED_CHANNELS]
        while some:
            done, (some, skipped) = sequence(alias, some, _take_nothing)
            appended |= {each.channel: each for each in done}
            left += skipped
    return appended, left


def _take_nothing(
    locked: Mapping[str, Locked], skipped: Collection[str]
) -> tuple[list[str], Collection[str]]:
    """Append nothing; return the channels that have more in the outbox, and the locked ones."""
    return [name for name, each in locked.items() if each.behind], skipped


def sequence(
    alias: str,
    names: Iterable[str],
    take: Take[T],
    before_commit: Callable[[], object] = lambda: None,
    *,
    wait: float = 0.0,
    first: str = "",
    never_make: Collection[str] = (),
) -> tuple[list[Appended], T]:
    """Lock the channels ``names``, sequence their outbox events, call ``take``, and commit.

    ``take`` is called with the locked channels, and appends its entries to them. Returns the events
    that were appended, and the result of ``take``. Channels that do not exist are created, except
    those to ``never_make``: they are missing from what ``take`` gets.

    With ``wait``, locked channels are waited for at most so many seconds; if one is to be the
    ``first``, in the queue for that one from the beginning. Raises ``ChannelLocked`` after that.
    Without ``wait``, channels that another transaction has locked are skipped, if the database
    supports that: ``take`` gets them as a second argument. Others may then be ``behind``: they have
    more events in the outbox than one transaction moves.

    ``take`` may be called several times, each time with freshly locked channels. An error that it
    raises rolls its transaction back. After an error that follows ``before_commit`` everything may
    nevertheless be committed.
    """
    work = _Work(alias, list(names), take, before_commit, never_make, waits=bool(wait))
    if wait and len(work.names) == 1 and not locking.sets_session(connections[alias]):
        # It has no other lock, so it may wait in its first transaction.
        (first,) = work.names
    return _carry_out(work, first, time.monotonic() + wait)


def sequence_queued(
    alias: str,
    first: str,
    join: Callable[[], tuple[list[str], Collection[str]]],
    take: Take[T],
    before_commit: Callable[[], object],
) -> tuple[list[Appended], T]:
    """Wait in the queue for the channel ``first``; then do as ``sequence`` does without waiting.

    The other channels are those that ``join`` returns, and those of them that it must never make.
    It is called once, when the wait is over. Raises ``ChannelLocked`` if it is in vain.
    """
    work = _Work(alias, [first], take, before_commit, join=join)
    return _carry_out(work, first, time.monotonic())


@dataclass(slots=True)
class _Work(Generic[T]):
    """The arguments of ``sequence``, or of ``sequence_queued``."""

    alias: str
    names: list[str]
    take: Take[T]
    before_commit: Callable[[], object]
    never_make: Collection[str] = ()
    waits: bool = False
    join: Callable[[], tuple[list[str], Collection[str]]] | None = None
    """None when it has been called."""
    unmade: list[str] = field(default_factory=list)
    """Channels that another transaction is creating, if it does not wait."""


def _carry_out(work: _Work[T], first: str, ends: float) -> tuple[list[Appended], T]:
    appended: dict[str, Appended] = {}
    while True:
        done = transactions.run(work.alias, partial(_attempt, work, first))
        if isinstance(done, _Missing):
            first = _make_and_wait(work, done, ends)
            continue
        channels, taken = done
        appended |= _committed(channels)
        if taken:
            return list(appended.values()), taken[0]
        first = ""
        if len(work.names) > MOVED_CHANNELS:
            left = max(0.0, ends - time.monotonic())
            moved = sequence_outbox(work.alias, work.names, wait=left)
            appended |= {each.channel: each for each in moved}


class _Missing(NamedTuple):
    """Channels without which an attempt cannot go on: locked by others, or not there."""

    locked: Sequence[str]
    absent: Sequence[str] = ()


def _make_and_wait(work: _Work[T], missing: _Missing, ends: float) -> str:
    """Create the channels that do not exist; return the one that the next attempt has to wait for.

    Raises ``ChannelLocked`` if the time has come that the waits end.
    """
    if work.join is not None:
        raise ChannelLocked(missing.locked[0])
    unmade = make_absent(work.alias, missing.absent)
    if not work.waits:
        work.unmade += unmade
        return ""
    locked = [*missing.locked, *unmade]
    if locked and time.monotonic() >= ends:
        raise ChannelLocked(locked[0])
    return locked[0] if locked else ""


def _attempt(work: _Work[T], first: str) -> tuple[Collection[Locked], list[T]] | _Missing:
    """Run one transaction; return its channels and a list with the result of ``take``.

    The list is empty if only a part of the outbox was moved.
    """
    alias = work.alias
    begin = locking.bounded if first else transactions.read_committed
    try:
        with begin(alias), connections[alias].cursor() as cursor:
            locked = _lock(cursor, work, first)
            missing = _missing(cursor, work, locked)
            if missing.absent or (missing.locked and work.waits):
                # Rolled back: locks alone need not be written to the disk.
                transaction.set_rollback(True, using=alias)
                return missing
            taken: list[T] = []
            if move_outboxes(cursor, locked.values()) or not work.waits:
                taken.append(work.take(locked, missing.locked))
            _write(cursor, [each for each in locked.values() if each.records])
            if taken:
                work.before_commit()
            return locked.values(), taken
    except locking.StillLocked:
        return _Missing([first])


def _missing(cursor: CursorWrapper, work: _Work[T], locked: Mapping[str, Locked]) -> _Missing:
    if len(locked) == len(work.names):
        return _Missing([])
    missing = [name for name in work.names if name not in locked]
    absent = locking.absent(cursor, missing)
    return _Missing(
        [name for name in missing if name not in absent or name in work.unmade],
        [name for name in absent if name not in work.never_make and name not in work.unmade],
    )


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


def _lock(cursor: CursorWrapper, work: _Work[T], first: str) -> dict[str, Locked]:
    """Lock the channels; those that do not exist or are locked are missing in the result.

    Waits only for ``first``, and before anything is locked. Raises ``StillLocked``. If the database
    cannot skip locked rows, it waits for all.
    """
    written = statements(cursor.db)
    if not written.skips_locked:
        _join(work)
        return _lock_all(cursor, work.names)
    nonce = make_nonce()
    locked = _lock_first(cursor, first, nonce, at_once=work.join is not None) if first else {}
    _join(work)
    others = [name for name in work.names if name != first]
    if work.waits and first and not locked:
        # It has to be created first.
        return {}
    return locked | _fetch_locked(cursor, written.lock_free, others, nonce)


def _lock_first(
    cursor: CursorWrapper, first: str, nonce: int, *, at_once: bool
) -> dict[str, Locked]:
    written = statements(cursor.db)
    if not at_once and not written.has_own_wait:
        # Mostly nobody has it, and then there is nothing to bound.
        locked = _fetch_locked(cursor, written.lock_free, [first], nonce)
        if locked:
            return locked
    locking.bound(cursor)
    return _fetch_locked(cursor, written.lock, [first], nonce)


def _join(work: _Work[T]) -> None:
    if work.join is not None:
        names, work.never_make = work.join()
        work.names = list(dict.fromkeys([*work.names, *names]))
        work.join = None


def _lock_all(cursor: CursorWrapper, names: Sequence[str]) -> dict[str, Locked]:
    connection = cursor.db
    written = statements(connection)
    if connection.vendor == "sqlite" and _is_deferred(connection):
        # In a deferred transaction SQLite immediately refuses to turn a reader into a writer if
        # another connection has written meanwhile. A write as the first statement waits its turn.
        cursor.execute(written.touch(len(names)), [channel_hash(name) for name in names])
    return _fetch_locked(cursor, written.lock, names, make_nonce())


def _fetch_locked(
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
