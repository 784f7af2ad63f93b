"""How often a run appends to the log: as often as readers can notice, and not more often.

An append costs about as much as thirty tokens, however many events it has. So a run appends at most
once in ``_PAUSES`` times ``COALESCE`` seconds, about one frame of a screen; fifty tokens a second
are still appended one by one. Runs that are faster than anyone can read share ``_APPENDS`` appends
a second among all runs of the process. A single run stays as smooth as before; with two hundred,
each appends ten times a second.
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
    """The pace of one run, on its event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = asyncio.Event()
        self._shortest = constants.COALESCE * _PAUSES
        self._throttle = Throttle(self._loop, 0.0, self._due.set)

    def begin(self) -> None:
        """Note that the run has begun."""
        _all.add(self)

    def end(self) -> None:
        """Note that the run will not write any more."""
        _all.discard(self)
        self.hurry()

    def hurry(self) -> None:
        """Make ``due`` return at once."""
        self._throttle.hurry()

    def come(self) -> None:
        """Note that there is something to write, which may wait for more."""
        if not self._due.is_set():
            self._throttle.ask()

    async def due(self) -> None:
        """Wait until it is time to write."""
        await self._due.wait()
        self._due.clear()

    def take(self, count: int) -> None:
        """Note that ``count`` events are written now."""
        now = self._loop.time()
        # Fast means two events in less than four thirds of the shortest pause: 100 a second.
        is_fast = count > 1 and (now - self._throttle.acted_at) * 3 < count * 2 * self._shortest
        self._throttle.pause = max(self._shortest, len(_all) / _APPENDS if is_fast else 0.0)
        self._throttle.acted()


@in_forked_child(Order.RUN_PACE)
def _forget_after_fork() -> None:
    # The runs belong to the parent.
    _all.clear()
