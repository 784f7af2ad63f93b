"""Each process's one writer for coroutines that publish: many of them share a commit.

A commit takes milliseconds, so a commit for each event would limit the rate. Events that arrive
during a commit go into the next one. If no commit is running, an event is committed at once,
without a timer.

- Events are sequenced in the order of the calls, across all threads and event loops of the process.
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
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from django_sse.exceptions import LogUnavailable
from django_sse.hub.registry import announce, deliver
from django_sse.log import get_log
from django_sse.process.database import DatabaseExecutor
from django_sse.process.lifecycle import Order, in_forked_child

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from django_sse.log.base import Entry, Outcome

# Keeps transactions short: a transaction locks its channels for all other processes until its end.
MAX_EVENTS = 500
MAX_CHANNELS = 250
# Far below the largest statement that a database accepts (MySQL 5.7: 4 MiB).
MAX_CHARACTERS = 1 << 20


class _Call(NamedTuple):
    """The events of one caller, and the future on which it waits for their outcome."""

    entries: Sequence[Entry]
    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[Outcome]


class _Writer:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Keyed by outcome, and in an OrderedDict: removing a cancelled call and taking the first
        # one both need no search.
        self._calls: OrderedDict[asyncio.Future[Outcome], _Call] = OrderedDict()
        self._busy = False
        self._executor = DatabaseExecutor(name="django_sse-group-commit")

    def put(self, call: _Call) -> None:
        with self._lock:
            self._calls[call.outcome] = call
            if self._busy:
                return
            self._busy = True
        self._commit_next()

    def take_back(self, call: _Call) -> None:
        """Remove ``call``, whose caller no longer waits, if it is not in a transaction yet."""
        with self._lock:
            self._calls.pop(call.outcome, None)

    def _commit_next(self) -> None:
        # The thread fills it when it starts on the commit: the later, the more calls share it.
        calls: list[_Call] = []
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
        unavailable = f"The thread that writes to the log could not be started: {error}"
        _tell([(call, LogUnavailable(unavailable)) for call in calls])

    def _commit(self, calls: list[_Call]) -> list[tuple[_Call, Outcome]]:
        with self._lock:
            calls += _take(self._calls)
        outcomes = _commit([call.entries for call in calls]) if calls else []
        return list(zip(calls, outcomes, strict=True))

    def _committed(
        self, calls: list[_Call], committed: Future[list[tuple[_Call, Outcome]]]
    ) -> None:
        error = committed.exception()
        _tell(committed.result() if error is None else [(c, _as_outcome(error)) for c in calls])
        with self._lock:
            self._busy = bool(self._calls)
        if self._busy:
            self._commit_next()


def _take(calls: OrderedDict[asyncio.Future[Outcome], _Call]) -> list[_Call]:
    """Remove and return the calls for the next transaction; the first fits whatever its size."""
    taken: list[_Call] = []
    channels: set[str] = set()
    events = characters = 0
    while calls:
        call = next(iter(calls.values()))
        entries = call.entries
        channels.update(entry.channel for entry in entries)
        events += len(entries)
        characters += sum(len(entry.data) for entry in entries)
        full = events > MAX_EVENTS or characters > MAX_CHARACTERS or len(channels) > MAX_CHANNELS
        if taken and full:
            break
        del calls[call.outcome]
        # Read from a thread other than the loop's: a caller may be cancelled right after this
        # check, as it may be at any later moment.
        if not call.outcome.cancelled():
            taken.append(call)
    return taken


def _commit(groups: Sequence[Sequence[Entry]]) -> list[Outcome]:
    log = get_log()
    # This thread is never in a transaction, but the call also raises if autocommit is off.
    log.in_transaction()
    appended, outcomes = log.append_each(groups)
    announce(appended)
    return outcomes


def _as_outcome(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(f"not published: {error!r}")


def _tell(told: Sequence[tuple[_Call, Outcome]]) -> None:
    # One wake-up for each loop, not for each caller: waking a loop costs more than one more item.
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Call, Outcome]]] = {}
    for each in told:
        by_loop.setdefault(each[0].loop, []).append(each)
    for loop, its in by_loop.items():
        # The loop may have closed meanwhile; then no caller waits on it.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_set_outcomes, its)


def _set_outcomes(told: Sequence[tuple[_Call, Outcome]]) -> None:
    for call, outcome in told:
        if not call.outcome.done():
            # Errors are set as results, too: asyncio would log an exception that a cancelled caller
            # never retrieves.
            call.outcome.set_result(outcome)


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
    call = _Call(entries, loop, loop.create_future())
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
