"""The one writer of a process for coroutines that publish: many of them share a commit.

A commit takes milliseconds, so one for each event would bound the rate. What arrives while one
commit runs goes into the next; when nothing runs, an event is committed at once, without a timer.

- Sequenced in the order of the calls, over all threads and event loops of the process.
- A caller that was told its ids has its events committed, in its process's rings, and told to the
  other processes.
- A caller that is cancelled while its events wait for their transaction takes them back; those that
  are in one already are committed.
- Nothing bounds what waits: each caller waits for its own, so there is never more than one call a
  caller.
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
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from django_sse.log.base import Entry, Outcome

# A transaction is short: its channels are locked to its end, against all other processes.
MAX_EVENTS = 500
MAX_CHANNELS = 250
# Far below what a database takes in one statement (MySQL 5.7: 4 MiB).
MAX_CHARACTERS = 1 << 20


class _Call(NamedTuple):
    """The events of one caller, and where it waits for their outcome."""

    entries: Sequence[Entry]
    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[Outcome]


class _Writer:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By their outcomes, and in this kind of dict: one that is taken back costs no search, and
        # neither does the first.
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
        """``call``, if it is in no transaction yet: nobody waits for it any more."""
        with self._lock:
            self._calls.pop(call.outcome, None)

    def run(self, call: Callable[[], object]) -> Future[object]:
        """``call`` after the commit under way."""
        return self._executor.submit(call)

    def _commit_next(self) -> None:
        # Filled when the thread gets there: the later, the more there is.
        calls: list[_Call] = []
        try:
            committed = self._executor.submit(self._commit, calls)
        except Exception as error:
            self._refuse(error)
            return
        # Not inside the call: in a test run the executor closes the connections after it, and who
        # was told may be the end of the test.
        committed.add_done_callback(partial(self._committed, calls))

    def _refuse(self, error: Exception) -> None:
        """There is no thread to write with: nobody waits for one, and the next call tries again."""
        with self._lock:
            calls = list(self._calls.values())
            self._calls.clear()
            self._busy = False
        _tell([(call, LogUnavailable(f"No thread to publish with: {error}")) for call in calls])

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
    """The next transaction's; the first whatever its size."""
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
        # From another thread than its loop's; a caller that goes now may as well have gone later.
        if not call.outcome.cancelled():
            taken.append(call)
    return taken


def _commit(groups: Sequence[Sequence[Entry]]) -> list[Outcome]:
    log = get_log()
    # Never inside one, but this also refuses to publish with autocommit off.
    log.in_transaction()
    appended, outcomes = log.append_each(groups)
    announce(appended)
    return outcomes


def _as_outcome(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(f"not published: {error!r}")


def _tell(told: Sequence[tuple[_Call, Outcome]]) -> None:
    # Once a loop and not once a caller: to wake a loop costs more than to tell it one thing more.
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Call, Outcome]]] = {}
    for each in told:
        by_loop.setdefault(each[0].loop, []).append(each)
    for loop, its in by_loop.items():
        # On a loop that closed meanwhile nobody waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_set_outcomes, its)


def _set_outcomes(told: Sequence[tuple[_Call, Outcome]]) -> None:
    for call, outcome in told:
        if not call.outcome.done():
            # An error, too, is a result: one that a cancelled caller leaves is none of asyncio's.
            call.outcome.set_result(outcome)


_writer = _Writer()


async def append(entries: Sequence[Entry]) -> list[str]:
    """Append ``entries``, all or none, with what other callers append; their ids.

    Raises ``ChannelFinished``, ``PublishNotAllowed`` and ``LogUnavailable``.
    """
    outcome = await (_append_in_memory(entries) if get_log().in_memory else _put(entries))
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def settled() -> None:
    """Wait until what is being committed is."""
    await asyncio.wrap_future(_writer.run(lambda: None))


async def _put(entries: Sequence[Entry]) -> Outcome:
    loop = asyncio.get_running_loop()
    call = _Call(entries, loop, loop.create_future())
    _writer.put(call)
    try:
        return await call.outcome
    except asyncio.CancelledError:
        # However long the writer is stuck: what nobody waits for must not pile up.
        _writer.take_back(call)
        raise


async def _append_in_memory(entries: Sequence[Entry]) -> Outcome:
    appended, (outcome,) = get_log().append_each([entries])
    # No wake-up: no other process has this log.
    deliver(appended)
    # Who publishes in a loop leaves room for those who read.
    await asyncio.sleep(0)
    return outcome


@in_forked_child(Order.GROUP_COMMIT)
def _forget_after_fork() -> None:
    # The child has the parent's calls, but neither their loops nor the thread.
    global _writer  # noqa: PLW0603 - one a process
    _writer = _Writer()
