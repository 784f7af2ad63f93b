"""Each process's one writer for coroutines that publish: many of them share a commit.

A commit takes milliseconds, so a commit for each event would limit the rate. Events that arrive
during a commit go into the next one. If no commit is running, an event is committed at once,
without a timer.

- Each channel's events are sequenced in the order of the calls, across all threads and event loops
  of the process.
- A transaction takes only the calls whose channels no other transaction has locked. The others go
  to the slow lane. Later calls on their channels follow them there, until none of them waits.
- Once the call returns, its events are committed, are in this process's rings, and have been
  announced to the other processes.
- If a caller is cancelled while its events wait for a transaction, they are not published. Events
  that are already in a transaction are committed.
- The queue has no limit: each caller waits for its own call, so it has at most one in the queue.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, TypeGuard

from django_sse.calls import Call, Size, outcome_of, told_later, without_thread
from django_sse.exceptions import ChannelLocked
from django_sse.hub.registry import announce, deliver
from django_sse.log import get_log
from django_sse.process.database import DatabaseExecutor
from django_sse.process.lifecycle import Order, in_forked_child
from django_sse.slow_lane import SlowLane

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from django_sse.log.base import Entry, Outcome


class _Writer:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Keyed by outcome, and in an OrderedDict: removing a cancelled call and taking the first
        # one both need no search.
        self._calls: OrderedDict[asyncio.Future[Outcome], Call] = OrderedDict()
        self._busy = False
        self._slow_lane = SlowLane()
        self._executor = DatabaseExecutor(name="django_sse-group-commit")

    def put(self, call: Call) -> None:
        with self._lock:
            # If no call is before it here, it can go to the slow lane without a thread.
            behind = not self._busy and self._slow_lane.must_take(call)
            if not behind:
                self._calls[call.outcome] = call
                if self._busy:
                    return
                self._busy = True
        if behind:
            self._slow_lane.go_on()
        else:
            self._commit_next()

    def take_back(self, call: Call) -> None:
        """Remove ``call``, whose caller no longer waits, if it is not in a transaction yet."""
        with self._lock:
            if self._calls.pop(call.outcome, None):
                return
        self._slow_lane.take_back(call)

    def _commit_next(self) -> None:
        # The thread fills it when it starts on the commit: the later, the more calls share it.
        calls: list[Call] = []
        try:
            committed = self._executor.submit(self._commit, calls)
        except Exception as error:
            self._refuse(error)
            return
        # Not inside the call: in a test run the executor closes the connections after the call, and
        # a caller that was told its outcome may end the test.
        committed.add_done_callback(partial(self._committed, calls))

    def _refuse(self, error: Exception) -> None:
        """Fail all calls because no thread could be started; the next call tries again."""
        with self._lock:
            calls = list(self._calls.values())
            self._calls.clear()
            self._busy = False
        told_later([(call, without_thread(error)) for call in calls])

    def _commit(self, calls: list[Call]) -> list[Outcome]:
        with self._lock:
            calls += self._take()
        self._slow_lane.go_on()
        return _commit([call.entries for call in calls]) if calls else []

    def _take(self) -> list[Call]:
        """Remove and return the calls for the next transaction; some may go to the slow lane."""
        taken: list[Call] = []
        size = Size()
        while self._calls:
            call = next(iter(self._calls.values()))
            # Read from a thread other than the loop's: a caller may be cancelled right after this
            # check, as it may be at any later moment.
            if not call.outcome.cancelled() and not self._slow_lane.must_take(call):
                if not size.fits(call):
                    break
                taken.append(call)
            del self._calls[call.outcome]
        return taken

    def _committed(self, calls: list[Call], committed: Future[list[Outcome]]) -> None:
        error = committed.exception()
        found = committed.result() if error is None else [outcome_of(error)] * len(calls)
        outcomes = list(zip(calls, found, strict=True))
        locked = [(call, error.channel) for call, error in outcomes if _is_locked(error)]
        told_later(each for each in outcomes if not _is_locked(each[1]))
        # Before the next calls are taken, because some of them must wait behind these.
        if locked:
            self._slow_lane.take(locked)
        with self._lock:
            self._busy = bool(self._calls)
        if self._busy:
            self._commit_next()


def _is_locked(outcome: Outcome) -> TypeGuard[ChannelLocked]:
    return isinstance(outcome, ChannelLocked)


def _commit(groups: Sequence[Sequence[Entry]]) -> list[Outcome]:
    log = get_log()
    # This thread is never in a transaction, but the call also raises if autocommit is off.
    log.in_transaction()
    appended, outcomes = log.append_free(groups)
    announce(appended)
    return outcomes


_writer = _Writer()


async def append(entries: Sequence[Entry]) -> list[str]:
    """Append all of ``entries`` or none, together with other callers' entries; return their ids.

    Raises ``ChannelFinished``, ``PublishNotAllowed`` and ``LogUnavailable``.
    """
    outcome = await (_append_in_memory(entries) if get_log().in_memory else _put(entries))
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def _put(entries: Sequence[Entry]) -> Outcome:
    loop = asyncio.get_running_loop()
    call = Call(entries, loop, loop.create_future())
    _writer.put(call)
    try:
        return await call.outcome
    except asyncio.CancelledError:
        # If the writer is stuck for long, abandoned calls must not pile up.
        _writer.take_back(call)
        raise


async def _append_in_memory(entries: Sequence[Entry]) -> Outcome:
    appended, (outcome,) = get_log().append_each([entries])
    # No wake-up: no other process has this log.
    deliver(appended)
    # A coroutine that publishes in a loop must let the readers run.
    await asyncio.sleep(0)
    return outcome


@in_forked_child(Order.GROUP_COMMIT)
def _forget_after_fork() -> None:
    # The child has a copy of the parent's calls, but neither their loops nor the thread.
    global _writer  # noqa: PLW0603 - one a process
    _writer = _Writer()
