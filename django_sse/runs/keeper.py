"""The keeper of runs: it renews its process's leases and ends the runs of processes that died.

Each event loop has two tasks, which run a query every few seconds while there are runs or clients
of runs. Every process with a client of a run looks for expired leases, so that the client of a dead
process's run gets its end. Renewing has its own task, because a process with many runs to end would
otherwise let its own leases expire.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING

from django_sse import conf
from django_sse.exceptions import LogUnavailable
from django_sse.process import database, stopping
from django_sse.process.lifecycle import Order, in_forked_child
from django_sse.process.per_loop import PerLoop
from django_sse.runs import ends, store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from uuid import UUID

    from django_sse.models import Run
    from django_sse.runs.task import RunTask

logger = logging.getLogger("django_sse")


class Keeper:
    """The keeper of the runs of one event loop; ``interrupt`` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.tasks: dict[UUID, RunTask] = {}
        self._watched: Counter[UUID] = Counter()
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._renewing_since: float | None = None
        self._trusted_from = 0.0

    # -- runs and clients

    def add(self, task: RunTask) -> None:
        """Keep the lease of ``task``, which runs in this process."""
        self.tasks[task.run.pk] = task
        _here.add(task.run.pk)
        self._ensure_keeping()

    def remove(self, task: RunTask) -> None:
        """Stop keeping the lease of ``task``, which has ended."""
        self.tasks.pop(task.run.pk, None)
        _here.discard(task.run.pk)

    def watch(self, run: Run) -> None:
        """Count one more client of ``run`` in this process."""
        self._watched[run.pk] += 1
        self._ensure_keeping()

    def unwatch(self, run: Run) -> None:
        """Count one client of ``run`` less in this process."""
        self._watched[run.pk] -= 1
        if self._watched[run.pk] <= 0:
            del self._watched[run.pk]

    def interrupt(self) -> None:
        """End all runs of this loop as interrupted."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        for task in list(self.tasks.values()):
            task.interrupt()

    # -- the two tasks

    def _ensure_keeping(self) -> None:
        # Check each task: one may have ended while the other still waits for the database.
        for work in (self._renew, self._look):
            task = self._keeping.get(work.__name__)
            if task is None or task.done():
                repeating = self.loop.create_task(self._repeat(work), context=Context())
                self._keeping[work.__name__] = repeating

    async def _repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        while self.tasks or self._watched:
            await asyncio.sleep(_interval())
            try:
                await work()
            except LogUnavailable as error:
                logger.warning("The leases of runs cannot be kept; retrying: %s", error)
                self._trust_later()
            except Exception:
                logger.exception("The leases of runs could not be kept; retrying.")
                self._trust_later()

    def _trust_later(self) -> None:
        # The other processes could not reach the database either: give them time to renew.
        self._trusted_from = self.loop.time() + 2 * _interval()

    def _trusts(self) -> bool:
        """Return whether an expired lease can be taken to mean that its process died.

        Not while this process waits to renew its own leases: then other processes may be waiting,
        too.
        """
        now = self.loop.time()
        waits = self._renewing_since is not None and now - self._renewing_since > _interval() / 2
        return not waits and now >= self._trusted_from

    async def _renew(self) -> None:
        started = self._renewing_since = self.loop.time()
        try:
            await database.renew(store.renew, list(self.tasks), list(self._watched))
        finally:
            self._renewing_since = None
        if self.loop.time() - started > _interval():
            self._trust_later()

    async def _look(self) -> None:
        if self._trusts():
            await database.write(_end_all_lost)
        if self._trusts():
            await self._cancel_unwatched()

    async def _cancel_unwatched(self) -> None:
        alone = [
            pk
            for pk, task in self.tasks.items()
            if task.run.while_connected and pk not in self._watched
        ]
        if not alone:
            return
        for pk in await database.run(store.unwatched, alone):
            if task := self.tasks.get(pk):
                logger.info("The run %s has no clients any more: cancelled.", pk)
                task.abort()


def _end_all_lost() -> None:
    if expired := end_lost(store.expired()):
        logger.warning("Ended runs whose process had died: %d.", expired)


def end_lost(runs: Iterable[Run]) -> int:
    """End the ``runs``, with expired leases, whose process died; return how many.

    Raises ``LogUnavailable``.
    """
    started = time.monotonic()
    # A run of this process is alive, even if its lease was renewed too late.
    lost = store.claim([run for run in runs if run.pk not in _here])
    if time.monotonic() - started > _interval() / 2:
        # The database was slow, so live processes could not renew either. The claim just made
        # expires, and then the runs are checked again.
        return 0
    ends.end_expired(lost)
    return len(lost)


def end_if_lost(run: Run) -> None:
    """End ``run``, which a client has requested, if its process died."""
    if run.ended is None and run.pk not in _here:
        end_lost(store.expired(run_id=run.pk))


def _interval() -> float:
    runs = conf.current().RUNS
    return min(runs.LEASE, runs.UNWATCHED) / 3


# The runs of this process, on all its loops.
_here: set[UUID] = set()
_keepers = PerLoop(Keeper)
get_keeper = _keepers.get
"""Return the keeper of the running loop."""


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


@in_forked_child(Order.RUN_KEEPERS)
def _forget_after_fork() -> None:
    _here.clear()
