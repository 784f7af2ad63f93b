"""When what a run says goes into the log: as often as its readers can see, and no more often.

An append costs as much as some thirty tokens, however many it has. So a run's go in at most once
in ``_PAUSES`` times ``COALESCE``, about once in a frame on a screen: fifty tokens a second still go
one by one. Runs that are faster than anybody reads share ``_APPENDS`` a second among all runs of
the process: one alone is as smooth as before, and of two hundred each writes ten times a second.
"""

from __future__ import annotations

import asyncio
import weakref

from django_sse import constants
from django_sse.process.lifecycle import Order, in_forked_child
from django_sse.streams.throttle import Throttle

_PAUSES = 3
_APPENDS = 2000

_all: weakref.WeakSet[Pace] = weakref.WeakSet()


class Pace:
    """That of one run; on its loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = asyncio.Event()
        self._shortest = constants.COALESCE * _PAUSES
        self._throttle = Throttle(self._loop, 0.0, self._due.set)

    def begin(self) -> None:
        """The run is under way."""
        _all.add(self)

    def end(self) -> None:
        """Nothing is to be written any more."""
        _all.discard(self)
        self.hurry()

    def hurry(self) -> None:
        """Something has to be done at once."""
        self._throttle.hurry()

    def come(self) -> None:
        """There is something to write, which may wait for more."""
        if not self._due.is_set():
            self._throttle.ask()

    async def due(self) -> None:
        """Return when it is time to write."""
        await self._due.wait()
        self._due.clear()

    def take(self, count: int) -> None:
        """So many events are written now."""
        now = self._loop.time()
        # Two in less than four thirds of the shortest pause: a hundred a second.
        is_fast = count > 1 and (now - self._throttle.acted_at) * 3 < count * 2 * self._shortest
        self._throttle.pause = max(self._shortest, len(_all) / _APPENDS if is_fast else 0.0)
        self._throttle.acted()


@in_forked_child(Order.RUN_PACE)
def _forget_after_fork() -> None:
    # The runs are the parent's.
    _all.clear()
