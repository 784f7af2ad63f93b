"""A listener of a notifier, which remembers what it hears."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from django_sse.notifiers import Notifier, Wakeup

TIMEOUT = 60.0
LISTENER_THREAD = "django_sse-data-version"


class Ear:
    """What one hub would hear."""

    def __init__(self) -> None:
        self.heard: list[Wakeup | None] = []
        self.threads: set[threading.Thread] = set()
        self._news = asyncio.Event()

    def wake(self, wakeup: Wakeup | None) -> None:
        self.heard.append(wakeup)
        self.threads.add(threading.current_thread())
        self._news.set()

    async def hears(self, condition: Callable[[], object]) -> None:
        """Returns once the condition holds, which is asked whenever something is heard."""
        async with asyncio.timeout(TIMEOUT):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def more(self) -> None:
        """Returns when something new is heard."""
        before = len(self.heard)
        await self.hears(lambda: len(self.heard) > before)


@asynccontextmanager
async def listening(notifier: Notifier) -> AsyncIterator[Ear]:
    """A listener, from its first word (where it says any) to its end."""
    ear = Ear()
    task = asyncio.create_task(notifier.listen(ear.wake))
    try:
        if notifier.supports_other_processes:
            await ear.hears(lambda: ear.heard)
        yield ear
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def listener_threads_ended() -> None:
    """Returns when no thread of a listener runs any more."""
    for thread in threading.enumerate():
        if thread.name == LISTENER_THREAD:
            await asyncio.to_thread(thread.join, TIMEOUT)
            assert not thread.is_alive()
