"""granian. It has no private names that help a connection: its connections keep to the
specification, and under WSGI it shows none.

Its ASGI worker hears of signals from its event loop (``loop.add_signal_handler``), and so does
gunicorn's ASGI worker. The loop hears whatever handler Python has: by its wake-up descriptor.

Its WSGI worker installs its handlers after it has loaded the project, and serves requests in
threads, which cannot install any. So we hear of signals by Python's wake-up descriptor.

Private names:

- Python's handler for a signal of an event loop is a function of ``asyncio`` (3.11 to 3.15) or of
  ``uvloop`` (0.22). Without them granian hangs, rarely, when it is told twice to stop (see
  ``LoopServer``), and a run is cut off at the end instead of interrupted.
- ``Process._target`` of ``multiprocessing`` is ``_spawn_wsgi_worker`` of granian (2.8). Without it
  granian waits for its WSGI streams for ever.
"""

from __future__ import annotations

import multiprocessing
import signal
import socket
from typing import TYPE_CHECKING

from django_sse.servers.base import Server

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_WSGI_WORKER = "_spawn_wsgi_worker"
_STOPS = frozenset({signal.SIGTERM, signal.SIGINT})

# The end to which Python writes the numbers of signals, and the end that we read.
_wake_up: tuple[socket.socket, socket.socket] | None = None


class LoopServer(Server):
    """Its event loop hears of signals.

    The handler that stands in for ``loop.add_signal_handler`` must not be called: asyncio's does
    nothing, and uvloop's notes the signal, which the loop then reports once from the note and once
    from its descriptor. granian's worker takes two reports; a third one, before its streams have
    ended, blocks it for ever with the GIL held.
    """

    hears_in_loop = True


def hear_signals() -> None:
    """Have Python write signals down for ``listen``, in a WSGI worker; call it in the main thread
    while the project is loaded."""
    global _wake_up  # noqa: PLW0603 - one a process
    target = getattr(multiprocessing.current_process(), "_target", None)
    if _wake_up is not None or getattr(target, "__name__", None) != _WSGI_WORKER:
        return
    _wake_up = socket.socketpair()
    for end in _wake_up:
        end.setblocking(False)
    signal.set_wakeup_fd(_wake_up[0].fileno(), warn_on_full_buffer=False)


def listen(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> None:
    """Call ``stop`` on ``loop`` when a signal tells this worker to stop."""
    if _wake_up is not None:
        loop.add_reader(_wake_up[1], _read, _wake_up[1], stop)


def _read(end: socket.socket, stop: Callable[[], object]) -> None:
    if not _STOPS.isdisjoint(end.recv(1 << 10)):
        stop()
