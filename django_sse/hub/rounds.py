"""Waking all who wait for a channel: not too often, and not all in one go."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from django_sse.streams.throttle import Throttle

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Iterator

logger = logging.getLogger("django_sse")

# Seconds that a round may keep the loop to itself, and the wake-ups between two looks at the clock.
_TURN = 0.002
_LOOK_AT_CLOCK = 16


class Waiter(Protocol):
    """Who is woken when a topic has something new."""

    def wake(self) -> None: ...

    def forget_pages(self) -> None: ...


class Rounds:
    """A round wakes all ``waiters`` once; where the server allows it that is also when they send.

    After a quiet moment it begins at once; under load ``pause`` seconds after the end of the last,
    so that each waiter gets several events in one write. It gives way to everything else on the
    loop every few milliseconds, and what is published meanwhile goes along in the rest's writes.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, waiters: Collection[Waiter], pause: float
    ) -> None:
        self._loop = loop
        self._waiters = waiters
        self._throttle = Throttle(loop, pause, self._begin)
        # From the moment a round is asked for to its end.
        self._busy = False
        self._again = False
        self._rest: Iterator[Waiter] = iter(())

    def wake(self) -> None:
        """There is something new."""
        if self._busy:
            self._again = True
            return
        self._busy = True
        self._throttle.ask()

    def _begin(self) -> None:
        self._again = False
        self._rest = iter(list(self._waiters))
        self._go_on()

    def _go_on(self) -> None:
        until = self._loop.time() + _TURN
        for count, waiter in enumerate(self._rest, start=1):
            try:
                waiter.wake()
            except Exception:
                # Only this one's: a round that broke off would leave the rest asleep for good.
                logger.exception("A stream could not be woken.")
            if count % _LOOK_AT_CLOCK == 0 and self._loop.time() >= until:
                self._loop.call_soon(self._go_on)
                return
        self._busy = False
        self._throttle.acted()
        if self._again:
            self.wake()
