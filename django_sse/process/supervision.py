"""Tasks that must not die, because nothing else would start them again."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from django_sse.exceptions import LogUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger("django_sse")

RESTART_PAUSE = 1.0
"""Seconds until a task that failed is started again."""


async def supervise(work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` again and again until this task is cancelled, and log what it raises."""
    while True:
        try:
            await work()
        except LogUnavailable as error:
            logger.warning("The task %s waits for the log: %s", work.__name__, error)
        except (Exception, asyncio.CancelledError):
            # A transport may let a cancellation escape that is not ours: an error like any other.
            if _is_being_cancelled():
                raise
            logger.exception("The task %s died. It will be restarted.", work.__name__)
        await asyncio.sleep(RESTART_PAUSE)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
