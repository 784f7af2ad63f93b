"""Learns that the server is told to stop, and ends its streams.

A server waits for open responses, some of them for ever, and tells an ASGI application of its end
(``lifespan.shutdown``) only after that. What comes before is the signal. At the first stream the
server's handler is there, and ours calls it in turn; one installed earlier would be overwritten.
Only gunicorn's threads stream where no handler can be installed, and there it is early enough to do
it when Django is set up: a worker loads the project after it has installed its own. hypercorn's
worker learns of the end from another process; the handoff asks it. ``runserver`` with autoreload
serves in a thread that its process does not wait for; the streams end before that exits. A worker
that has answered as many requests as it may gets no signal at all: see ``look``.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
import weakref
from concurrent.futures import wait
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from django.core.signals import request_started
from django.utils.autoreload import file_changed

from django_sse.hub.registry import drain, on_tick, running
from django_sse.process.lifecycle import Order, at_exit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import FrameType

    Wait = Callable[[], Awaitable[object]]

# gunicorn's Ctrl-C reaches its workers as SIGQUIT.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

GENERATOR = "django_sse-generator"
"""The name of the tasks and threads in which generators run."""

# Seconds that an exiting process waits for its streams, and between two looks at them; then so many
# more turns of the loop, each as long as a look, for what they said last to get to the sockets.
# After Ctrl-C the parent of runserver's process leaves it 0.25 s in all.
_GRACE = 1.0
_LOOK = 0.01
_LAST_TURNS = 10
# systemd signals every process of a service, and so does a server its workers: that is one word.
_SAME_WORD = 1.0


def watch() -> None:
    """End all streams when this process is told to stop; called when Django is set up and at every
    stream's start.

    Only the main thread can install a signal handler. A loop that runs in another (runserver with
    autoreload) belongs to a process that exits without waiting for it: see ``end_streams``.
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


def watch_worker(stopping: Wait, stop: Wait | None = None) -> None:
    """End all streams when ``stopping()`` returns: for a server whose workers get no signal.

    ``stop()`` makes the worker stop as it does when it is told to. hypercorn's main process sends
    SIGTERM to its workers when the first of them has ended, which would cut the others short.
    """
    loop = asyncio.get_running_loop()
    if loop in _watching:
        return
    _watching[loop] = loop.create_task(_drain_after(stopping), context=Context())
    if stop is None or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _DrainFirst(partial(_stop_soon, loop, stop)))


async def _drain_after(stopping: Wait) -> None:
    await stopping()
    drain()


def _stop_soon(
    loop: asyncio.AbstractEventLoop, stop: Wait, number: int, frame: FrameType | None
) -> None:
    asyncio.run_coroutine_threadsafe(_call(stop), loop)


async def _call(stop: Wait) -> None:
    await stop()


_watching: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[None]] = (
    weakref.WeakKeyDictionary()
)


# gunicorn's ASGI worker: its event loop hears of the signals, so no handler leads to it.
_worker: Any = None


def watch_server(worker: Any) -> None:
    """Have ``look`` ask ``worker``, too."""
    global _worker  # noqa: PLW0603 - one a process
    _worker = worker


def look() -> None:
    """End all streams if the server stops without a signal, as it does after so many requests
    (uvicorn's ``--limit-max-requests``, gunicorn's ``--max-requests``).

    Nothing tells of it: it is asked for, from any thread. The server is found by the handler that
    is installed now; one that ran earlier in this process is not.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(handler, _DrainFirst):
        handler = handler.previous
    if _stops(_worker) or _stops(getattr(handler, "__self__", None)):
        drain()


def _stops(server: Any) -> bool:
    # A worker's class may be the project's own.
    packages = {each.__module__.partition(".")[0] for each in type(server).__mro__}
    if "gunicorn" in packages:
        return not getattr(server, "alive", True)
    if "uvicorn" in packages:
        # asyncio's, for each address.
        return not all(each.is_serving() for each in getattr(server, "servers", ()))
    return False


class Work(Protocol):
    """What may go on for a while when the streams have ended."""

    @property
    def seconds(self) -> float:
        """How long."""

    def busy(self) -> bool:
        """Whether there is any."""

    def interrupt(self) -> None:
        """End it now; from any thread."""


class _NoWork:
    seconds = 0.0

    def busy(self) -> bool:
        return False

    def interrupt(self) -> None:
        """There is none."""


_work: Work = _NoWork()


# Whether the server says by the lifespan protocol that it stops, and waits for an answer.
_lifespan = False


def let_finish(work: Work) -> None:
    """Have the server wait until ``work`` is done, or its seconds are over.

    By the lifespan protocol; a server that does not speak it hears of its signal only then. One
    that hears of signals from its event loop cannot be kept waiting: there the work is interrupted.
    """
    global _work  # noqa: PLW0603 - one a process
    _work = work


def serves_lifespan() -> None:
    """The server will wait for ``finish_work``."""
    global _lifespan  # noqa: PLW0603 - one a process
    _lifespan = True


async def finish_work() -> None:
    """Wait for the work, and interrupt what takes too long."""
    drain()
    await _until(lambda: not _work.busy(), _work.seconds)
    _work.interrupt()
    drain()
    await _until(lambda: not _something_lives(), _GRACE)


async def _until(reached: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not reached() and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(_LOOK)


class _DrainFirst:
    """A signal handler that ends the streams and leaves the rest to the server's own."""

    def __init__(self, previous: Callable[[int, FrameType | None], Any]) -> None:
        self.previous = previous
        self._told_at: float | None = None
        self._waits = False
        self._hurried = False
        self._finished = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        drain()
        now = time.monotonic()
        if self._finished:
            pass
        elif self._told_at is None:
            self._told_at = now
            if self._wait_first(number):
                return
        elif now - self._told_at > _SAME_WORD:
            # Whoever says it twice will not wait, but for the last word of what is interrupted.
            _work.interrupt()
            if self._waits and not self._hurried:
                self._hurried = True
                return
        elif self._waits and _work.busy():
            return
        self.previous(number, frame)

    def _wait_first(self, number: int) -> bool:
        """Whether the server is told later."""
        loops = list(running())
        busy = _work.busy() and not _lifespan
        if busy and _is_a_loops(self.previous):
            _work.interrupt()
        elif loops and (busy or _does_not_wait(self.previous)):
            self._waits = True
            # Not run_coroutine_threadsafe(): a handler must take no lock.
            loops[0].call_soon_threadsafe(self._go_on, loops[0], number)
        return self._waits

    def _go_on(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        task = loop.create_task(self._finish(number), context=Context())
        # Until then nobody else holds it.
        _finishing.add(task)
        task.add_done_callback(_finishing.discard)

    async def _finish(self, number: int) -> None:
        try:
            await finish_work()
            await _last_turns()
        finally:
            self._finished = True
            self._tell_server(number)

    def _tell_server(self, number: int) -> None:
        main = threading.main_thread()
        if threading.current_thread() is main:
            self.previous(number, None)
        elif main.ident is not None:
            # Its handler may raise, as sys.exit() does. Python calls it there, and in no other
            # thread would that end the process.
            signal.pthread_kill(main.ident, number)


_finishing: set[asyncio.Task[None]] = set()


def _is_a_loops(handler: Callable[..., Any]) -> bool:
    # What was given to loop.add_signal_handler() is called all the same (gunicorn's asgi worker,
    # granian).
    module = getattr(handler, "__module__", None) or ""
    return module.startswith(("asyncio.", "uvloop"))


def _does_not_wait(handler: Callable[..., Any]) -> bool:
    # daphne ends with Twisted's loop, whatever its responses still have to say.
    return (getattr(handler, "__module__", None) or "").startswith("twisted.")


@at_exit(Order.STREAMS)
def end_streams() -> None:
    """End all streams and wait for that: the process exits while their loop still runs, in a thread
    that nobody waits for."""
    if not (_work.busy() or any(pulse.streams for pulse in running().values())):
        return
    drain()
    _work.interrupt()
    until = time.monotonic() + _GRACE
    while _something_lives() and time.monotonic() < until:
        time.sleep(_LOOK)
    wait([asyncio.run_coroutine_threadsafe(_last_turns(), loop) for loop in running()], _GRACE)


async def _last_turns() -> None:
    for _ in range(_LAST_TURNS):
        await asyncio.sleep(_LOOK)


def _something_lives() -> bool:
    # The generators in threads are waited for by those who made them.
    return _work.busy() or any(
        pulse.streams or any(task.get_name() == GENERATOR for task in asyncio.all_tasks(loop))
        for loop, pulse in running().items()
    )


def _before_reload(file_path: Path, **kwargs: object) -> None:
    # Of other files it is not known whether they make the process exit. Once it does exit it may
    # start no thread any more (Python 3.12), and an ``on_close`` may need one.
    if file_path.suffix == ".py":
        end_streams()


def _before_request(**kwargs: object) -> None:
    # gunicorn's threads: the request that is the worker's last is already counted.
    look()


on_beat.append(look)
request_started.connect(_before_request, dispatch_uid="django_sse.process.stopping")
file_changed.connect(_before_reload, dispatch_uid="django_sse.process.stopping")
