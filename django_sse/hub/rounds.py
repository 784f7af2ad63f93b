"""Waking all streams of a channel: not too often, and not all at once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from django_sse.streams.throttle import Throttle

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Iterator

logger = logging.getLogger("django_sse")

# Seconds that a round may occupy the loop, and the number of wake-ups between two clock readings.
_TURN = 0.002
_LOOK_AT_CLOCK = 16


class Waiter(Protocol):
    """The interface of an object that a topic wakes when it has something new."""

    def wake(self) -> None: ...

    def forget_pages(self) -> None: ...


class Rounds:
    """Rounds that wake all ``waiters``; if the server allows it, they send at the same time.

    After a quiet moment a round begins at once. Under load it begins ``pause`` seconds after the
    end of the last one, so that each waiter gets several events in one write. A round yields to the
    rest of the loop every few milliseconds; the remaining waiters then also send the events that
    were published meanwhile.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, waiters: Collection[Waiter], pause: float
    ) -> None:
        self._loop = loop
        self._waiters = waiters
        self._throttle = Throttle(loop, pause, self._begin)
        # True from the request for a round until its end.
        self._busy = False
        self._again = False
        self._rest: Iterator[Waiter] = iter(())

    def wake(self) -> None:
        """Wake all waiters soon, because there is something new."""
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
                # Continue with the others: if the round broke off, they would never be woken.
                logger.exception("A stream could not be woken.")
            if count % _LOOK_AT_CLOCK == 0 and self._loop.time() >= until:
                self._loop.call_soon(self._go_on)
                return
        self._busy = False
        self._throttle.acted()
        if self._again:
            self.wake()
