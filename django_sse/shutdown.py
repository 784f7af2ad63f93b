"""Learns that the server is told to stop, and ends its streams.

A server waits for open responses, some of them for ever, and tells an ASGI application of its end
(``lifespan.shutdown``) only after that. What comes before is the signal. A handler installed when
Django is set up is overwritten by the servers; at the first stream theirs is there, and ours calls
it in turn.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from django_sse.hub.registry import drain

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

# gunicorn's Ctrl-C reaches its workers as SIGQUIT.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def watch() -> None:
    """End all streams when this process is told to stop; called at every stream's start.

    Only the main thread can install a signal handler. A loop that runs in another (runserver with
    autoreload) belongs to a process that exits without waiting for it.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        previous = signal.getsignal(number)
        # Without a handler the process ends at once; one that is not Python's cannot be called.
        if callable(previous) and not isinstance(previous, _DrainFirst):
            signal.signal(number, _DrainFirst(previous))


class _DrainFirst:
    """A signal handler that ends the streams and leaves the rest to the server's own."""

    def __init__(self, previous: Callable[[int, FrameType | None], Any]) -> None:
        self._previous = previous

    def __call__(self, number: int, frame: FrameType | None) -> None:
        drain()
        self._previous(number, frame)
