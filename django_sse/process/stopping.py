"""Ending the streams and the runs of this process when its server stops.

Streams are drained at once: a server waits for open responses, some of them for ever. Work that
goes on without a client gets its seconds, then it is interrupted. How a server tells that it stops
is the business of ``django_sse.servers``.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Protocol

from django.utils.autoreload import file_changed

from django_sse.process.lifecycle import Order, at_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# Seconds that an exiting process waits for its streams, and between two looks at them.
_GRACE = 1.0
_LOOK = 0.01
# So many more turns of the loop, each as long as a look, in which the last frames reach the
# sockets. After Ctrl-C the parent of runserver's process leaves it 0.25 s in all.
_LAST_TURNS = 10


class Service(Protocol):
    """Something that a stopping server must not wait for."""

    def drain(self) -> None:
        """End its streams soon.

        Called from any thread and inside a signal handler, so it must not take a lock that the
        interrupted code may hold, unless that is reentrant.
        """

    def busy(self) -> bool:
        """Whether something of it has not ended; from any thread."""

    def loops(self) -> Sequence[asyncio.AbstractEventLoop]:
        """The running loops in which it ends; from any thread."""


class Work(Protocol):
    """Something that may go on for a while after the streams have ended."""

    @property
    def seconds(self) -> float:
        """How long."""

    def busy(self) -> bool:
        """Whether any of it is going on; from any thread."""

    def interrupt(self) -> None:
        """End it soon; from any thread and inside a signal handler, as ``Service.drain``."""


_services: list[Service] = []
_work: list[Work] = []


def register(service: Service) -> Service:
    """Drain ``service`` when this process is told to stop, and wait for it when it exits."""
    _services.append(service)
    return service


def let_finish(work: Work) -> Work:
    """Let ``work`` go on for its seconds when this process is told to stop.

    A server that speaks the lifespan protocol waits for it; with another our signal handler waits
    before it calls the server's. A server whose event loop hears of the signal cannot be made to
    wait: with that one the work is interrupted.
    """
    _work.append(work)
    return work


def drain() -> None:
    """End all streams; from any thread and inside a signal handler."""
    for service in _services:
        service.drain()


def is_working() -> bool:
    """Whether there is work that may go on for a while."""
    return any(work.busy() for work in _work)


def interrupt() -> None:
    """End all work now; from any thread and inside a signal handler."""
    for work in _work:
        work.interrupt()


def loops() -> list[asyncio.AbstractEventLoop]:
    """The running loops that have something to end."""
    return list(dict.fromkeys(loop for service in _services for loop in service.loops()))


async def finish() -> None:
    """End the streams, wait for the work, and interrupt what takes too long."""
    drain()
    await _until(lambda: not is_working(), max((work.seconds for work in _work), default=0.0))
    interrupt()
    drain()
    await _until(lambda: not _something_is_left(), _GRACE)


async def last_turns() -> None:
    """Return when the last frames have had time to reach the sockets."""
    for _ in range(_LAST_TURNS):
        await asyncio.sleep(_LOOK)


async def _until(reached: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not reached() and time.monotonic() < until:  # noqa: ASYNC110 - nothing notifies
        await asyncio.sleep(_LOOK)


def _something_is_left() -> bool:
    return is_working() or any(service.busy() for service in _services)


# A server in another thread than the main one (runserver with autoreload) stops with its process,
# which does not wait for it.
@at_exit(Order.STREAMS)
def end() -> None:
    """End everything, and block until it has ended."""
    if not _something_is_left():
        return
    drain()
    interrupt()
    until = time.monotonic() + _GRACE
    while _something_is_left() and time.monotonic() < until:
        time.sleep(_LOOK)
    wait([asyncio.run_coroutine_threadsafe(last_turns(), loop) for loop in loops()], _GRACE)


def _before_reload(file_path: Path, **kwargs: object) -> None:
    # Other files may or may not make the process exit. A process that exits may not start a thread
    # any more (Python 3.12), and an ``on_close`` may need one.
    if file_path.suffix == ".py":
        end()


file_changed.connect(_before_reload, dispatch_uid="django_sse.process.stopping")
