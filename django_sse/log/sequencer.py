"""The one append routine: every sequence number is assigned here.

It runs a short transaction of its own: lock the channel's row, move the committed outbox events,
append the new ones, move the head. The row is locked *before* anything is read, so that the holder
sees all events sequenced before. A transaction waits for at most one row, and before it locks
others, so that two publishers never wait for each other, nor a third for both (``locking``). If the
outbox is large, several transactions that only move parts of it come first, so that none is long or
needs much memory.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeAlias, TypeVar

from django.db import connections, transaction

from django_sse.exceptions import ChannelLocked
from django_sse.log import locking, transactions
from django_sse.log.base import Appended
from django_sse.log.locked import Locked, committed, fetch, lock_all, lock_first, write
from django_sse.log.orm import channel_hash
from django_sse.log.outbox import move_outboxes
from django_sse.log.statements import LOCK_STEP, statements
from django_sse.wire.cursor import make_nonce

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from django.db.backends.utils import CursorWrapper

T = TypeVar("T")
Take: TypeAlias = "Callable[[Mapping[str, Locked], Collection[str]], T]"

logger = logging.getLogger("django_sse")

# The number of channels that one transaction locks to move their outbox events. A transaction that
# moves a part of the outbox must not lock all of a publisher's channels.
MOVED_CHANNELS = 250
# The number of channels that a log message names.
_NAMED = 10


def sequence_outbox(alias: str, names: Iterable[str], *, wait: float = 0.0) -> list[Appended]:
    """Sequence the outbox events of the channels ``names``.

    Waits for locked channels, one after the other and at most ``wait`` seconds for all of them.
    Skips those that are still locked then.
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
    """Sequence the outbox events of those channels that are not locked.

    Returns what was sequenced, by channel, and the locked channels.
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
    those in ``never_make``, which ``take`` does not get.

    With ``wait`` it waits at most so many seconds for locked channels, and queues for ``first``
    before all others. Raises ``ChannelLocked`` after that. Without ``wait`` it skips channels that
    another transaction has locked, if the database supports that, and ``take`` gets them as a
    second argument. The channels that it gets may then be ``behind``: they have more events in the
    outbox than one transaction moves.

    ``take`` may be called several times, each time with freshly locked channels. An error that it
    raises rolls its transaction back. After an error that follows ``before_commit`` everything may
    nevertheless be committed.
    """
    work = _Work(alias, list(names), take, before_commit, never_make, waits=bool(wait))
    if wait and len(work.names) == 1 and statements(connections[alias]).waits_at_once:
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

    ``join`` is called once, when the wait is over. It returns the other channels, and those that
    must not be created. Raises ``ChannelLocked`` if ``first`` stays locked.
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
    """None after it was called."""
    unmade: list[str] = field(default_factory=list)
    """Channels that another transaction is creating, for work that does not wait."""


def _carry_out(work: _Work[T], first: str, ends: float) -> tuple[list[Appended], T]:
    appended: dict[str, Appended] = {}
    while True:
        done = transactions.run(work.alias, partial(_attempt, work, first))
        if isinstance(done, _Missing):
            first = _make_and_wait(work, done, ends)
            continue
        channels, taken = done
        appended |= committed(channels)
        if taken:
            return list(appended.values()), taken[0]
        first = ""
        if len(work.names) > MOVED_CHANNELS:
            left = max(0.0, ends - time.monotonic())
            moved = sequence_outbox(work.alias, work.names, wait=left)
            appended |= {each.channel: each for each in moved}


class _Missing(NamedTuple):
    """Channels that a transaction needs but could not lock: ``locked`` by others, or ``absent``."""

    locked: Sequence[str]
    absent: Sequence[str] = ()


def _make_and_wait(work: _Work[T], missing: _Missing, ends: float) -> str:
    """Create the absent channels; return the one for which the next transaction has to wait.

    Raises ``ChannelLocked`` if the time for waiting is over.
    """
    if work.join is not None:
        raise ChannelLocked(missing.locked[0])
    unmade = locking.make_absent(work.alias, missing.absent)
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
                # Roll back: a commit of locks alone would cost a write to the disk.
                transaction.set_rollback(True, using=alias)
                return missing
            taken: list[T] = []
            if move_outboxes(cursor, locked.values()) or not work.waits:
                taken.append(work.take(locked, missing.locked))
            write(cursor, [each for each in locked.values() if each.records])
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


def _lock(cursor: CursorWrapper, work: _Work[T], first: str) -> dict[str, Locked]:
    """Lock the channels; return them without those that do not exist or are locked by others.

    Waits only for ``first``, before it locks anything else. If the database cannot skip locked rows
    it waits for all. Raises ``StillLocked``.
    """
    written = statements(cursor.db)
    if not written.skips_locked:
        _join(work)
        return lock_all(cursor, work.names)
    nonce = make_nonce()
    locked = lock_first(cursor, first, nonce, at_once=work.join is not None) if first else {}
    _join(work)
    others = [name for name in work.names if name != first]
    if work.waits and first and not locked:
        # ``first`` has to be created before.
        return {}
    return locked | fetch(cursor, written.lock_free, others, nonce)


def _join(work: _Work[T]) -> None:
    if work.join is not None:
        names, work.never_make = work.join()
        work.names = list(dict.fromkeys([*work.names, *names]))
        work.join = None
