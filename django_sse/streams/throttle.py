"""Acting at once after a quiet moment, and less often under load."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Throttle:
    """A limit on calls of ``act``: at once after a pause of ``pause`` seconds, else at its end.

    Everything that arrives in between shares that one action, because a write, an append or a
    wake-up of many costs more than the events that it carries. Lives on one loop.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pause: float, act: Callable[[], object]
    ) -> None:
        self.pause = pause
        self.acted_at = -math.inf
        """The loop's time of the last action, as ``acted`` said."""
        self._loop = loop
        self._act = act
        self.timer: asyncio.TimerHandle | None = None
        """Set while an action waits for its time. A plain attribute, because every item asks."""

    def ask(self) -> None:
        """Act soon; nothing more happens while an action waits."""
        if self.timer is not None:
            return
        wait = self.acted_at + self.pause - self._loop.time()
        if wait <= 0:
            self._act()
        else:
            self.timer = self._loop.call_later(wait, self.hurry)

    def hurry(self) -> None:
        """Act now."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self._act()

    def acted(self) -> None:
        """Count the pause from now: an action has been carried out."""
        self.acted_at = self._loop.time()
