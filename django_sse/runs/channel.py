"""A run's own channel. The run knows its position there without asking the log.

So the next append notices if the log was rewound. If the answer to a COMMIT was lost, the next try
of the same append finds out whether it was carried out (``django_sse.log.attempts``).
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from django_sse.exceptions import LogUnavailable
from django_sse.log.attempts import Attempt, Rewound
from django_sse.log.base import TERMINAL
from django_sse.process import database
from django_sse.publishing import append
from django_sse.runs import ends, store
from django_sse.wire.cursor import NO_TAG, Position

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeVar
    from uuid import UUID

    from django_sse.log.base import Entry
    from django_sse.models import Run

    T = TypeVar("T")

logger = logging.getLogger("django_sse")

# Seconds before an unavailable log is tried again.
_RETRY = 0.5


class OwnChannel:
    """The channel of one run, in the run's own process. Takes one call at a time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._attempt: Attempt | None = None
        self._ended = False
        self.position = Position(run.epoch, 0, NO_TAG)

    async def append(self, entries: list[Entry]) -> None:
        """Append ``entries`` exactly once, retrying as long as the log is unavailable.

        Raises ``ChannelFinished`` and ``Rewound``.
        """
        self._attempt = Attempt(entries, self.position)
        await self.settle()

    async def settle(self) -> None:
        """Finish an ``append`` that was cancelled; its entries may already be in the log.

        Raises the errors of ``append``.
        """
        if self._attempt is not None:
            await self._patiently(partial(append, self._attempt))
            self.position = self._attempt.reached
            self._ended = self._attempt[-1].kind == TERMINAL
            self._attempt = None

    async def compare(self) -> None:
        """Raise ``Rewound`` if the log no longer has all of this run's events."""
        heads = await self._patiently(partial(database.run, store.heads, [self._run]))
        head = heads.get(self._run.pk)
        if head is None or not head.may_follow(*self.position):
            raise Rewound(f"The log of the channel {self._run.channel!r} was rewound or wiped.")

    async def close(self, what: Callable[[list[UUID]], None]) -> None:
        """Give the channel an end if it has none, and then ``note`` it.

        Only an end that this run appended is known to be there. Another process may have appended
        one that was lost when the log was rewound.
        """
        if not self._ended:
            await self._patiently(partial(database.write, ends.break_off, self._run))
        await self.note(what)

    async def note(self, what: Callable[[list[UUID]], None]) -> None:
        """Call ``what``, a function of ``store``, for the run's row."""
        await self._patiently(partial(database.write, what, [self._run.pk]))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except LogUnavailable as error:
                logger.warning("The run %s waits for the log: %s", self._run.pk, error)
                await asyncio.sleep(_RETRY)
