"""The slow lane of the group commit: calls for channels that other transactions have locked.

- The calls of a channel are appended in their order. A call over several channels waits until it is
  the first of each of them, and later calls on any of them wait behind it.
- No channel waits for another. A few threads each wait for one channel, in the database's own
  queue, so that each publisher to a busy channel gets its turn. Channels that stayed locked for a
  whole wait are stuck: they take turns in some of these threads. A thread that gets its channel
  also takes the calls of all other channels that are free. From time to time a thread tries all
  channels without waiting.
- After ``LOCK_WAIT`` seconds a call is refused with ``ChannelLocked``.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from django_sse import constants
from django_sse.calls import Call, Size, outcome_of, told_later, without_thread
from django_sse.exceptions import ChannelLocked
from django_sse.hub.registry import announce
from django_sse.log import get_log
from django_sse.process.database import DatabaseExecutor

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from django_sse.log.base import Entry, Outcome

# The number of threads that wait for a channel each: some for busy channels, and others for stuck
# ones. A busy channel must not wait until the waits for stuck channels have ended.
_WAITERS = 2
_WAITERS_FOR_STUCK = 2
# Seconds that such a wait takes, and seconds after which a thread tries all channels without
# waiting, if no thread has had its lock and taken the calls of all channels along.
_WAIT = 1.0
_PAUSE = 0.1
# Seconds after which a call has waited for long.
_LONG = 0.2
# Seconds for which calls queue for a channel that was found locked, without trying it first, and
# the number of such channels. A try needs the thread of the group commit, and its connection.
_BUSY = 5.0
_REMEMBERED = 10_000


@dataclass(eq=False, slots=True)
class _Waiting:
    """A call in this lane."""

    call: Call
    locked: str
    """The channel that was last found to be locked, or to have calls here."""
    channels: frozenset[str]
    since: float
    running: bool = False


class SlowLane:
    """The calls of one process that wait for locked channels."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # All calls, the oldest first, and the calls of each channel in their order. Keyed by
        # outcome, so that a cancelled call is removed without a search.
        self._calls: OrderedDict[asyncio.Future[Outcome], _Waiting] = OrderedDict()
        self._channels: dict[str, OrderedDict[asyncio.Future[Outcome], _Waiting]] = {}
        # Whether each channel is stuck, in the order of their turns.
        self._turns: OrderedDict[str, bool] = OrderedDict()
        self._jobs: set[_Job] = set()
        # When channels were last found locked without waiting.
        self._locked_at: dict[str, float] = {}
        self._tried = 0.0
        self._executor = DatabaseExecutor(
            _WAITERS + _WAITERS_FOR_STUCK + 1, name="django_sse-slow-lane"
        )

    def must_take(self, call: Call) -> bool:
        """Take ``call`` if calls for one of its channels wait here, or if one was found locked.

        Returns whether it took the call. Then ``go_on`` has to be called.
        """
        # Only the group commit adds calls, so an empty lane stays empty until it does.
        if not self._channels and not self._locked_at:
            return False
        with self._lock:
            for entry in call.entries:
                if entry.channel in self._channels or self._is_busy(entry.channel):
                    self._add(call, entry.channel)
                    return True
        return False

    def _is_busy(self, channel: str) -> bool:
        """Return whether ``channel`` was found locked a moment ago, so that calls queue for it."""
        locked_at = self._locked_at.get(channel)
        if locked_at is None:
            return False
        if time.monotonic() - locked_at < _BUSY:
            return True
        del self._locked_at[channel]
        return False

    def take(self, calls: Iterable[tuple[Call, str]]) -> None:
        """Take calls in their order, each with its channel that is locked."""
        now = time.monotonic()
        with self._lock:
            if len(self._locked_at) > _REMEMBERED:
                self._locked_at.clear()
            for call, locked in calls:
                self._locked_at[locked] = now
                self._add(call, locked)
        self.go_on()

    def _add(self, call: Call, locked: str) -> None:
        if call.outcome.cancelled():
            return
        channels = frozenset(entry.channel for entry in call.entries)
        waiting = _Waiting(call, locked, channels, time.monotonic())
        self._calls[call.outcome] = waiting
        for channel in channels:
            self._channels.setdefault(channel, OrderedDict())[call.outcome] = waiting
            self._turns.setdefault(channel, False)

    def take_back(self, call: Call) -> None:
        """Remove ``call``, whose caller no longer waits, if it is not in a transaction."""
        with self._lock:
            waiting = self._calls.get(call.outcome)
            if waiting is None or waiting.running:
                return
            self._remove(waiting)
        self.go_on()

    def _remove(self, waiting: _Waiting) -> None:
        outcome = waiting.call.outcome
        del self._calls[outcome]
        for channel in waiting.channels:
            calls = self._channels[channel]
            del calls[outcome]
            if not calls:
                del self._channels[channel], self._turns[channel]

    # -- jobs

    def go_on(self) -> None:
        """Start the jobs that can be started."""
        while self._calls:
            with self._lock:
                told: list[tuple[Call, Outcome]] = list(self._expired())
                job = self._next() if self._calls else None
            told_later(told)
            if job is None:
                return
            try:
                committed = self._executor.submit(job.commit)
            except Exception as error:
                self._end(job, without_thread(error))
            else:
                # Not inside the call: see the group commit.
                committed.add_done_callback(partial(self._committed, job))

    def _expired(self) -> Iterator[tuple[Call, Outcome]]:
        now = time.monotonic()
        while self._calls:
            waiting = next(iter(self._calls.values()))
            if waiting.running or waiting.since + constants.LOCK_WAIT > now:
                return
            self._remove(waiting)
            yield waiting.call, ChannelLocked(waiting.locked)

    def _next(self) -> _Job | None:
        waits = [job for job in self._jobs if job.channel]
        awaited = {job.channel for job in waits}
        for_stuck = sum(job.stuck for job in waits)
        for_busy = len(waits) - for_stuck
        room = {False: for_busy < _WAITERS, True: for_stuck < _WAITERS_FOR_STUCK}
        long_ago = time.monotonic() - _LONG
        for channel in self._in_turn() if any(room.values()) else ():
            stuck = self._turns[channel]
            # A call over several channels may wait for another one of them.
            first = next(iter(self._channels[channel].values()))
            if not stuck and for_busy and first.since > long_ago:
                # The thread that waits already takes this call, too. Two threads would write
                # transactions of half the size.
                continue
            if room[stuck] and first.locked not in awaited and self._is_ready(first):
                self._turns.move_to_end(channel)
                return self._begin(_Job(self, first.locked, stuck))
        return self._next_try()

    def _in_turn(self) -> list[str]:
        """Return the channels in the order in which threads wait for them.

        The order is the same in all processes, so that they queue for the same channel. The process
        that gets it finds the others free, and takes their calls, too. A call that has waited for
        long goes first.
        """
        oldest = next(iter(self._calls.values()))
        stuck = [channel for channel, stuck in self._turns.items() if stuck]
        busy = sorted(channel for channel, stuck in self._turns.items() if not stuck)
        if time.monotonic() - oldest.since < _LONG:
            return busy + stuck
        return [*oldest.channels, *busy, *stuck]

    def _next_try(self) -> _Job | None:
        """Return the job that tries all channels without waiting, if it is time for one."""
        now = time.monotonic()
        if now - self._tried < _PAUSE or not all(job.channel for job in self._jobs):
            return None
        self._tried = now
        return self._begin(_Job(self, ""))

    def _begin(self, job: _Job) -> _Job:
        self._jobs.add(job)
        return job

    def claim(self, channel: str) -> list[_Waiting]:
        """Return the calls for a transaction that has locked ``channel``: its own, and others.

        If ``channel`` is empty, they are the calls of all channels. Otherwise those of stuck
        channels are left out: a busy channel has many transactions, which must not all try them.
        """
        size = Size()
        claimed: list[_Waiting] = []
        with self._lock:
            own = [channel] if channel in self._channels else []
            others = [each for each, stuck in self._turns.items() if not (channel and stuck)]
            if len(others) == len(self._turns):
                self._tried = time.monotonic()
            for each in [*own, *others]:
                for waiting in self._ready(each, size):
                    waiting.running = True
                    claimed.append(waiting)
        return claimed

    def _is_ready(self, waiting: _Waiting) -> bool:
        """Return whether a call is the first on all of its channels, and in no transaction."""
        queues = (self._channels[each].values() for each in waiting.channels)
        return not waiting.running and all(next(iter(queue)) is waiting for queue in queues)

    def _ready(self, channel: str, size: Size) -> list[_Waiting]:
        """Return the first calls of ``channel`` that can share a transaction.

        They have the same channels, and are the first on each of them.
        """
        ready: list[_Waiting] = []
        channels = next(iter(self._channels[channel].values())).channels
        queues = [self._channels[each].values() for each in channels]
        for waiting, *others in zip(*queues, strict=False):
            if waiting.running or waiting.channels != channels:
                break
            if any(other is not waiting for other in others) or not size.fits(waiting.call):
                break
            ready.append(waiting)
        return ready

    def _committed(self, job: _Job, commit: Future[list[Outcome]]) -> None:
        error = commit.exception()
        if error is None:
            self._settle(job, job.claimed, commit.result())
        elif isinstance(error, ChannelLocked):
            self._note_stuck(job)
        else:
            self._end(job, outcome_of(error))
        self.go_on()

    def _note_stuck(self, job: _Job) -> None:
        with self._lock:
            self._jobs.discard(job)
            for waiting in self._channels.get(job.channel, {}).values():
                # The first call makes its other channels wait, too: they are stuck as well.
                self._turns.update(dict.fromkeys(waiting.channels, True))
                break

    def _end(self, job: _Job, outcome: Outcome) -> None:
        """Give the calls of ``job`` its ``outcome``; if it had none yet, claim them first."""
        claimed = job.claimed or self.claim(job.channel)
        self._settle(job, claimed, [outcome] * len(claimed))

    def _settle(self, job: _Job, claimed: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
        told: list[tuple[Call, Outcome]] = []
        with self._lock:
            self._jobs.discard(job)
            for waiting, outcome in zip(claimed, outcomes, strict=True):
                waiting.running = False
                if not isinstance(outcome, ChannelLocked):
                    told.append((waiting.call, outcome))
                    self._remove(waiting)
                elif waiting.call.outcome.cancelled():
                    self._remove(waiting)
                else:
                    waiting.locked = outcome.channel
                    # The tries have lasted as long as a wait.
                    if waiting.since + _WAIT < time.monotonic():
                        self._turns.update(dict.fromkeys(waiting.channels, True))
            if job.channel in self._turns:
                self._turns[job.channel] = False
        told_later(told)


class _Job:
    """A transaction that waits for ``channel``, or does not wait if that is empty.

    It takes its calls when the wait is over, so that all calls that are ready then share it.
    """

    def __init__(self, lane: SlowLane, channel: str, stuck: bool = False) -> None:
        self._lane = lane
        self.channel = channel
        self.stuck = stuck
        self.claimed: list[_Waiting] = []

    def commit(self) -> list[Outcome]:
        log = get_log()
        if self.channel:
            appended, outcomes = log.append_queued(self.channel, self._join)
        else:
            groups = self._join()
            appended, outcomes = log.append_free(groups) if groups else ([], [])
        announce(appended)
        return outcomes

    def _join(self) -> list[Sequence[Entry]]:
        self.claimed = self._lane.claim(self.channel)
        return [each.call.entries for each in self.claimed]
