"""How this process learns that its server is told to stop, and drains its streams.

A server waits for open responses, some of them for ever, and tells an ASGI application of its end
(``lifespan.shutdown``) only after that. The signal comes before. At the first stream the server has
installed its handler; ours replaces it and calls it. Installed earlier, ours would be overwritten.
gunicorn's threads stream where no handler can be installed, but a worker loads the project after it
has installed its own, so Django's set-up is late enough. Another process tells hypercorn's worker,
which gets no signal. ``servers/granian.py`` says how its WSGI worker is heard. A worker that has
answered as many requests as it may gets no signal either: see ``look``.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
import weakref
from collections import deque
from contextvars import Context
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

from django.core.signals import request_started

from django_sse.process import stopping
from django_sse.servers.detect import server_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from django_sse.servers.base import Server

    Call = Callable[[], Awaitable[object]]

__all__ = ["watch"]

# gunicorn's Ctrl-C reaches its workers as SIGQUIT; SIGBREAK is Windows' Ctrl-Break.
_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGBREAK")
    if hasattr(signal, name)
)
# systemd signals every process of a service, and so does a server its workers: signals that follow
# each other within these seconds are one.
_SAME_SIGNAL = 1.0

# Whether the server says by the lifespan protocol that it stops, and waits for an answer.
_lifespan = False
# gunicorn's ASGI worker, which is not found by its handler.
_worker: Server | None = None
# The loops whose server tells them to stop, and the tasks that wait for that.
_waiting: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[None]] = (
    weakref.WeakKeyDictionary()
)


def serves_lifespan() -> None:
    """The server will wait for ``stopping.finish``."""
    global _lifespan  # noqa: PLW0603 - one a process
    _lifespan = True


def watch(server: Server | None = None) -> None:
    """Drain all streams when this process is told to stop.

    Called when Django is set up and at the start of every stream. ``server``: the one that serves
    the stream, if its connection knows. Only the main thread can install a signal handler. A loop
    in another thread (runserver with autoreload) belongs to a process that exits without waiting
    for it: see ``stopping.end``.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            previous = signal.getsignal(number)
            if _can_be_chained(previous):
                signal.signal(number, _DrainFirst(previous))
        if "granian" in sys.modules:
            from django_sse.servers import granian

            granian.hear_signals()
    if server is not None:
        _watch(server)


def listen(loop: asyncio.AbstractEventLoop) -> None:
    """Drain all streams when this process is told to stop; ``loop`` runs in the background.

    Called at the start of a stream under WSGI, for a server whose handlers cannot be chained.
    """
    if "granian" in sys.modules:
        from django_sse.servers import granian

        granian.listen(loop, stopping.drain)


def _can_be_chained(handler: Any) -> TypeGuard[Callable[[int, FrameType | None], Any]]:
    # Without a handler, or with Python's own for Ctrl-C, the process ends at once (and
    # asyncio.run() wants to find that one in place). One that is not Python's cannot be called.
    return (
        callable(handler)
        and handler is not signal.default_int_handler
        and not isinstance(handler, _DrainFirst)
    )


def _watch(server: Server) -> None:
    global _worker  # noqa: PLW0603 - one a process
    if server.told is None:
        _worker = server
        return
    loop = asyncio.get_running_loop()
    if loop in _waiting:
        return
    _waiting[loop] = loop.create_task(_drain_after(server.told), context=Context())
    if server.stop is None or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _DrainFirst(partial(_stop_soon, loop, server.stop)))


async def _drain_after(told: Call) -> None:
    await told()
    stopping.drain()


def _stop_soon(
    loop: asyncio.AbstractEventLoop, stop: Call, number: int, frame: FrameType | None
) -> None:
    asyncio.run_coroutine_threadsafe(_await(stop), loop)


async def _await(call: Call) -> None:
    await call()


def look() -> None:
    """Drain all streams if the server has begun to stop without a signal, as it does after so many
    requests (uvicorn's ``--limit-max-requests``, gunicorn's ``--max-requests``).

    Nothing tells, so the server has to be asked, from any thread. It is found by the handler that
    is installed now; a server that ran earlier in this process is not.
    """
    if current_server().stops() or (_worker is not None and _worker.stops()):
        stopping.drain()


def current_server() -> Server:
    """Return the server that handles SIGTERM in this process; from any thread."""
    handler = signal.getsignal(signal.SIGTERM)
    return server_of(handler.previous if isinstance(handler, _DrainFirst) else handler)


class _State(Enum):
    """How the handler treats the next signal.

    =======  ==========================================  =====================================
    QUIET    the first signal                            WAITING for work, or else PASSING
    WAITING  the same signal again: is held back         WAITING
    WAITING  a second signal: interrupts, is held back   PASSING
    WAITING  the work has ended: the server is told      PASSING
    PASSING  any signal goes to the server; a second     PASSING
             one interrupts as well
    =======  ==========================================  =====================================
    """

    QUIET = auto()
    WAITING = auto()
    PASSING = auto()


class _DrainFirst:
    """A signal handler that drains the streams and leaves the rest to the server's own."""

    def __init__(self, previous: Callable[[int, FrameType | None], Any]) -> None:
        self.previous = previous
        self._server = server_of(previous)
        self._state = _State.QUIET
        self._told_at = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        _arrived.append((self, number, frame))
        stopping.drain()
        # Another signal may interrupt this handler, and the server must hear of both in their
        # order: uvicorn waits for its responses when SIGTERM follows SIGINT, and cuts them when
        # SIGINT follows SIGTERM.
        while _arrived:
            handler, arrived, at = _arrived.popleft()
            handler._pass_on(arrived, at)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self._keeps_waiting(number):
            return
        # A handler that stands in for the loop's must not be called: see ``LoopServer``.
        if not self._server.hears_in_loop:
            self.previous(number, frame)

    def _keeps_waiting(self, number: int) -> bool:
        """Whether the server is told later."""
        if self._state is _State.QUIET:
            self._told_at = time.monotonic()
            self._state = _State.PASSING
            return self._wait_first(number)
        if time.monotonic() - self._told_at <= _SAME_SIGNAL:
            return self._state is _State.WAITING and stopping.is_working()
        # A second signal means stop now, once what is interrupted has sent its last frame.
        stopping.interrupt()
        waited, self._state = self._state is _State.WAITING, _State.PASSING
        return waited

    def _wait_first(self, number: int) -> bool:
        """Tell the server later if there is something to wait for; return whether there is."""
        loops = stopping.loops()
        working = stopping.is_working() and not _lifespan
        if working and self._server.hears_in_loop:
            stopping.interrupt()
        elif loops and (working or not self._server.waits):
            self._state = _State.WAITING
            # Not run_coroutine_threadsafe(): a handler must take no lock.
            loops[0].call_soon_threadsafe(self._go_on, loops[0], number)
            return True
        return False

    def _go_on(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        task = loop.create_task(self._finish(number), context=Context())
        # Nothing else holds the task until it is done.
        _finishing.add(task)
        task.add_done_callback(_finishing.discard)

    async def _finish(self, number: int) -> None:
        try:
            await stopping.finish()
            await stopping.last_turns()
        finally:
            self._state = _State.PASSING
            self._tell_server(number)

    def _tell_server(self, number: int) -> None:
        if threading.current_thread() is threading.main_thread():
            self.previous(number, None)
        else:
            _signal_main_thread(number)


# Signals that the server has not been told of yet, with their handlers.
_arrived: deque[tuple[_DrainFirst, int, FrameType | None]] = deque()
_finishing: set[asyncio.Task[None]] = set()


def _signal_main_thread(number: int) -> None:
    """Have the handler of ``number`` called in the main thread: it may raise, as ``sys.exit`` does,
    and in no other thread would that end the process."""
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, number)
    else:  # Windows; Python calls handlers in the main thread only, but does not wake it there.
        signal.raise_signal(number)


def _before_request(**kwargs: object) -> None:
    # gunicorn's threads: the request that is the worker's last is already counted.
    look()


request_started.connect(_before_request, dispatch_uid="django_sse.servers.signals")
