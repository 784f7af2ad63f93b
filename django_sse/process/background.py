"""One event loop in one thread, for processes whose server has none (WSGI).

All streams of the process live there. A generator takes its first step there as well, so that
whatever it opened still works at its second.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from django_sse.process import threads
from django_sse.process.lifecycle import Order, in_forked_child
from django_sse.process.request_thread import Surroundings, leave_callers_thread

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

T = TypeVar("T")


class BackgroundLoop:
    """An event loop that runs for as long as the process does."""

    def __init__(self) -> None:
        self.loop = threads.new_event_loop()
        threads.start(self._run, name="django_sse-loop")

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run ``work`` on the loop, with the caller's context, language and time zone.

        Cancelling the future cancels ``work``.
        """
        return asyncio.run_coroutine_threadsafe(_run_in(Surroundings.here(), work), self.loop)


async def _run_in(surroundings: Surroundings, work: Coroutine[Any, Any, T]) -> T:
    leave_callers_thread()
    surroundings.enter()
    return await work


_lock = threading.Lock()
_background: BackgroundLoop | None = None


def get_background_loop() -> BackgroundLoop:
    """The process's background loop, started at the first call."""
    global _background  # noqa: PLW0603 - one a process
    with _lock:
        if _background is None:
            _background = BackgroundLoop()
        return _background


@in_forked_child(Order.BACKGROUND_LOOP)
def _forget_after_fork() -> None:
    # The child has the parent's loop, which still says is_running(), but not its thread.
    global _background, _lock  # noqa: PLW0603
    _background = None
    _lock = threading.Lock()
