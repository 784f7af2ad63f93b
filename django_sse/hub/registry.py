"""All hubs of this process, and telling them and the other processes what was committed."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

from django_sse.log import get_log
from django_sse.notifiers import Wakeup, get_notifier

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from django_sse.hub.hub import Hub
    from django_sse.log.base import Appended

logger = logging.getLogger("django_sse")

# Reentrant: a signal handler asks for the hubs, in the middle of whatever the main thread does.
_lock = threading.RLock()
_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = weakref.WeakKeyDictionary()

on_tick: list[Callable[[], object]] = []
"""Called on the loop of each hub that has streams, twice in a HEARTBEAT."""


def hubs() -> list[Hub]:
    """The hubs of the loops that are open, from any thread."""
    with _lock:
        return [hub for loop, hub in _hubs.items() if not loop.is_closed()]


def running() -> dict[asyncio.AbstractEventLoop, Hub]:
    """The loops that run and their hubs, from any thread."""
    with _lock:
        return {loop: hub for loop, hub in _hubs.items() if loop.is_running()}


def find(loop: asyncio.AbstractEventLoop) -> Hub | None:
    """The hub of ``loop``, if it has one."""
    with _lock:
        return _hubs.get(loop)


def add(loop: asyncio.AbstractEventLoop, hub: Hub) -> None:
    """Register the hub of ``loop``."""
    with _lock:
        # A hub knows its loop, so the weak keys alone would keep both for ever.
        for other in [each for each in _hubs if each.is_closed()]:
            del _hubs[other]
        _hubs[loop] = hub


def deliver(appended: Sequence[Appended]) -> None:
    """Hand what this process committed to its hubs. Any thread."""
    if appended:
        for hub in hubs():
            hub.deliver(appended)


def announce(appended: Sequence[Appended]) -> None:
    """Hand what this process committed to its hubs and wake the other processes. Any thread."""
    if not appended:
        return
    deliver(appended)
    _notify([Wakeup(each.channel, each.epoch, each.records[-1].seq) for each in appended])


def _notify(wakeups: Sequence[Wakeup]) -> None:
    try:
        get_notifier().notify(wakeups)
    except Exception:
        # Committed: whoever was not told of it finds it at its next look, and whoever were told of
        # an error would publish it again.
        logger.exception("What was committed could not be announced to other processes.")


def look_again(channels: Sequence[str]) -> None:
    """Have all processes compare ``channels`` with the log: something changed that is no event."""
    heads = get_log().heads(channels).values()
    for hub in hubs():
        hub.check_soon()
    # No epoch of theirs: that of a log they do not know.
    _notify([Wakeup(head.channel, "", head.head) for head in heads])


_DRAINING_SECONDS = 60.0
_draining_until = 0.0


def drain() -> None:
    """End all streams, and for a while those that requests under way begin: the server stops.

    For a while only: what told it to stop may have been caught, as Ctrl-C in a shell is.
    """
    global _draining_until  # noqa: PLW0603 - one a process
    _draining_until = time.monotonic() + _DRAINING_SECONDS
    for hub in hubs():
        hub.drain()


def is_draining() -> bool:
    """Whether a stream that begins now ends at once."""
    return time.monotonic() < _draining_until


def _forget_after_fork() -> None:
    # The child has the parent's hubs, but none of their loops runs in it.
    global _lock, _draining_until  # noqa: PLW0603
    _draining_until = 0.0
    _lock = threading.RLock()
    _hubs.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
