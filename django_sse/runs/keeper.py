"""The keeper of runs: it renews its event loop's lease and ends the runs of processes that died.

An event loop with runs, or with clients of runs, has two tasks that run a query every few seconds.
Every process with a client of a run looks for leases that do not change, so that the client gets
the run's end if the process of the run died. Renewing has its own task, because a process that has
many runs to end could otherwise not renew its own lease in time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from django_sse import conf
from django_sse.exceptions import LogUnavailable
from django_sse.process import database, stopping
from django_sse.process.observer import SOONER, Observer
from django_sse.process.per_loop import PerLoop
from django_sse.runs import leases, store
from django_sse.runs.lost import end_lost, end_stray, interval, longest_pause, too_long

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from django_sse.models import Run
    from django_sse.runs.task import RunTask

logger = logging.getLogger("django_sse")

# Times ``LEASE`` for which a keeper without runs and clients keeps looking: one until it knows that
# a lease does not change, and the rest for a busy machine.
_STAYS = 3


class Keeper:
    """The keeper of the runs of one event loop; ``interrupt`` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.tasks: dict[UUID, RunTask] = {}
        self.lease: UUID | None = None
        # Whether a run was ended elsewhere since the lease was renewed.
        self._ended_elsewhere = False
        self._watched: Counter[UUID] = Counter()
        self._beginning = 0
        self._stays_until = 0.0
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._renewing = asyncio.Lock()
        self._fresh_until = 0.0
        self._leases = Observer[UUID]()
        self._clients = Observer[UUID]()
        self._strays = Observer[UUID]()

    # -- runs and clients

    @asynccontextmanager
    async def beginning(self) -> AsyncIterator[UUID]:
        """Hold the lease for a run that is about to begin. Raises ``LogUnavailable``."""
        self._beginning += 1
        try:
            self._ensure_keeping()
            if self.lease is None or not self.tasks or self.loop.time() > self._fresh_until:
                # There is none, or it was not needed, or not renewed, for a while: it may be over.
                await self._renew()
            assert self.lease is not None
            yield self.lease
        finally:
            self._beginning -= 1

    def add(self, task: RunTask) -> None:
        """Renew the lease as long as ``task``, which runs in this process, needs it."""
        self.tasks[task.run.pk] = task
        self._ensure_keeping()
        if task.run.lease != self.lease:
            # The lease was lost while the run began.
            task.interrupt()

    def remove(self, task: RunTask) -> None:
        """Stop keeping ``task``, which has ended."""
        self.tasks.pop(task.run.pk, None)
        self._ended_elsewhere = self._ended_elsewhere or task.ended_elsewhere

    def watch(self, run: Run) -> None:
        """Count one more client of ``run`` in this process."""
        self._watched[run.pk] += 1
        self.stay()

    def unwatch(self, run: Run) -> None:
        """Count one client of ``run`` less in this process."""
        self._watched[run.pk] -= 1
        if self._watched[run.pk] <= 0:
            del self._watched[run.pk]

    def stay(self) -> None:
        """Look for processes that died, for long enough to find one, even if all clients leave."""
        self._stays_until = self.loop.time() + _STAYS * conf.current().RUNS.LEASE
        self._ensure_keeping()

    def interrupt(self) -> None:
        """End all runs of this loop as interrupted."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        for task in list(self.tasks.values()):
            task.interrupt()

    # -- the two tasks

    @property
    def _observers(self) -> tuple[Observer[UUID], ...]:
        return (self._leases, self._clients, self._strays)

    def _ensure_keeping(self) -> None:
        # Check each task: one may have ended while the other still waits for the database.
        for work in (self._keep_lease, self._keep_looking):
            task = self._keeping.get(work.__name__)
            if task is None or task.done():
                self._keeping[work.__name__] = self.loop.create_task(work(), context=Context())

    def _busy(self) -> bool:
        stays = self.loop.time() < self._stays_until
        return bool(self.tasks or self._watched or self._beginning or stays)

    async def _keep_lease(self) -> None:
        while self._busy():
            await self._repeat(self._renew)
            await self._let_go()

    async def _keep_looking(self) -> None:
        await self._repeat(self._look)

    async def _repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        failed = False
        while self._busy():
            await asyncio.sleep(interval() * (SOONER if failed else 1))
            try:
                await work()
            except Exception as error:
                self._start_again(error, log=not failed)
                failed = True
            else:
                failed = False

    def _start_again(self, error: Exception, *, log: bool) -> None:
        # The other processes may not have reached the database either: give them time to renew.
        for observer in self._observers:
            observer.start_again()
        if self.loop.time() < self._stays_until:
            self.stay()
        if log:
            _warn("The leases of runs cannot be kept", error)

    async def _renew(self) -> None:
        async with self._renewing:
            if self.lease is not None and not await database.renew(leases.renew, self.lease):
                self._taken_for_dead()
            if self.lease is None:
                lease = uuid4()
                await database.renew(leases.register, lease)
                self.lease = lease
        self._ended_elsewhere = False
        self._fresh_until = self.loop.time() + longest_pause()
        for observer in self._observers:
            observer.wrote(longest_pause())
        if self._watched:
            await database.renew(store.watch, list(self._watched))

    async def _let_go(self) -> None:
        lease, self.lease = self.lease, None
        if lease is not None:
            # If that fails, or a run of it could not be marked as ended, another keeper notices
            # that it does not change.
            with suppress(LogUnavailable):
                if not await database.renew(leases.renew, lease):
                    # Its runs read of their end in the log, before this keeper renewed the lease.
                    self._say_that_it_was_taken_for_dead()
                await database.renew(leases.remove, lease)

    def _taken_for_dead(self) -> None:
        """End the runs here, too: the process that has claimed the lease ends them in the log."""
        self._say_that_it_was_taken_for_dead()
        self.lease = None
        self._interrupt()

    def _say_that_it_was_taken_for_dead(self) -> None:
        if not (self.tasks or self._ended_elsewhere):
            return
        logger.error(
            "Another process has taken this one for dead: it did not renew its lease for longer "
            "than RUNS['LEASE'] (%g s). Its event loop was blocked, or the process was stopped or "
            "cut off from the database. Its runs end as interrupted.",
            conf.current().RUNS.LEASE,
        )

    async def _look(self) -> None:
        await self._end_lost()
        await self._end_strays()
        await self._cancel_unwatched()

    async def _end_lost(self) -> None:
        asked = self._leases.clock()
        ours = {keeper.lease for keeper in _keepers.running().values()}
        found = await database.renew(leases.seen)
        seen = {lease: each for lease, each in found.items() if lease not in ours}
        for lease in too_long(self._leases.unchanged(seen, asked=asked), seen):
            await self._end(self._leases, lease, partial(end_lost, lease, seen[lease].value))

    async def _end_strays(self) -> None:
        """End the runs of this lease that no task here runs: their row was committed late, or their
        end could not be written."""
        asked = self._strays.clock()
        lease, pks = self.lease, list[UUID]()
        if lease is not None:
            pks = await database.renew(store.under_way, lease)
        strays = dict.fromkeys(pk for pk in pks if pk not in self.tasks)
        for pk, seconds in self._strays.unchanged(strays, asked=asked).items():
            if seconds > conf.current().RUNS.LEASE:
                await self._end(self._strays, pk, partial(end_stray, pk))

    async def _end(self, observer: Observer[UUID], key: UUID, ending: Callable[[], object]) -> None:
        """Call ``ending``. If it fails, log that and observe ``key`` again, to try it later."""
        try:
            await database.write(ending)
        except Exception as error:
            observer.forget(key)
            _warn("A run whose process died cannot be ended", error)

    async def _cancel_unwatched(self) -> None:
        alone = [
            pk
            for pk, task in self.tasks.items()
            if task.run.while_connected and pk not in self._watched and not task.closed
        ]
        asked = self._clients.clock()
        numbers = await database.run(store.watched, alone) if alone else {}
        for pk, seconds in self._clients.unchanged(numbers, asked=asked).items():
            task = self.tasks.get(pk)
            if task and pk not in self._watched and seconds > conf.current().RUNS.UNWATCHED:
                logger.info("The run %s has no clients any more: cancelled.", pk)
                task.abort()


def _warn(what: str, error: Exception) -> None:
    expected = isinstance(error, LogUnavailable)
    logger.warning("%s; retrying: %s", what, error, exc_info=None if expected else error)


_keepers = PerLoop(Keeper)
get_keeper = _keepers.get
"""Return the keeper of the running loop."""


async def stay() -> None:
    """Tell the running loop's keeper that a client has asked for a run; see ``Keeper.stay``."""
    get_keeper().stay()


class _Grace:
    """This process's runs, for ``stopping``: they get more time than streams."""

    @property
    def seconds(self) -> float:
        return conf.current().RUNS.GRACE

    def busy(self) -> bool:
        # The runs of a loop that has ended will not make any progress.
        return any(keeper.tasks for keeper in _keepers.running().values())

    def interrupt(self) -> None:
        for keeper in _keepers.all():
            keeper.interrupt()


stopping.let_finish(_Grace())
