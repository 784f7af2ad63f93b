"""Learns that the server is told to stop, and ends its streams.

A server waits for open responses, some of them for ever, and tells an ASGI application of its end
(``lifespan.shutdown``) only after that. What comes before is the signal. At the first stream the
server's handler is there, and ours calls it in turn; one installed earlier would be overwritten.
Only gunicorn's threads stream where no handler can be installed, and there it is early enough to do
it when Django is set up: a worker loads the project after it has installed its own.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, TypeGuard

from django_sse.hub.registry import drain

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

# gunicorn's Ctrl-C reaches its workers as SIGQUIT.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def watch() -> None:
    """End all streams when this process is told to stop; called when Django is set up and at every
    stream's start.

    Only the main thread can install a signal handler. A loop that runs in another (runserver with
    autoreload) belongs to a process that exits without waiting for it.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        previous = signal.getsignal(number)
        if _can_be_chained(previous):
            signal.signal(number, _DrainFirst(previous))


def _can_be_chained(handler: Any) -> TypeGuard[Callable[[int, FrameType | None], Any]]:
    # Without a handler, or with Python's own for Ctrl-C, the process ends at once (and
    # asyncio.run() wants to find that one in place); one that is not Python's cannot be called.
    return (
        callable(handler)
        and handler is not signal.default_int_handler
        and not isinstance(handler, _DrainFirst)
    )


class _DrainFirst:
    """A signal handler that ends the streams and leaves the rest to the server's own."""

    def __init__(self, previous: Callable[[int, FrameType | None], Any]) -> None:
        self._previous = previous

    def __call__(self, number: int, frame: FrameType | None) -> None:
        drain()
        self._previous(number, frame)
