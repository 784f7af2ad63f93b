"""The pulse of an event loop: it beats the open streams and ends them when the server stops.

Ten thousand idle streams have one timer between them.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

from django_sse import conf
from django_sse.process import stopping
from django_sse.process.lifecycle import Order, in_forked_child
from django_sse.process.per_loop import PerLoop
from django_sse.process.supervision import supervise
from django_sse.servers import signals

if TYPE_CHECKING:
    from django_sse.streams.stream import Stream

# Streams that one turn of the loop beats; the rest wait for the next, so that ten thousand
# heartbeats do not hold up the events.
_BEATS_A_TURN = 500
# Seconds in which streams that requests under way begin are ended at once. No longer: whatever told
# the server to stop may have been caught, as Ctrl-C in a shell is.
_DRAINING_SECONDS = 60.0


class Attendant(Protocol):
    """Something else that needs the beat, such as the hub."""

    def beat(self) -> bool:
        """Called twice in a HEARTBEAT. Returns whether it needs the next beat as well."""


class Pulse:
    """The pulse of one loop; ``drain`` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.streams: set[Stream] = set()
        self._loop = loop
        self._attendants: set[Attendant] = set()
        self._beating: asyncio.Task[None] | None = None

    def register(self, stream: Stream) -> None:
        """Beat and drain ``stream`` from now on."""
        self.streams.add(stream)
        self._ensure_beating()
        if is_draining():
            stream.drain()

    def discard(self, stream: Stream) -> None:
        """Forget ``stream``, which has ended."""
        self.streams.discard(stream)

    def attend(self, attendant: Attendant) -> None:
        """Call ``attendant.beat`` at each beat, until it returns False."""
        self._attendants.add(attendant)
        self._ensure_beating()

    def drain(self) -> None:
        """End all streams, because the server stops."""
        # A loop that was closed has no streams left.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        for stream in list(self.streams):
            stream.drain()

    def _ensure_beating(self) -> None:
        if self._beating is None:
            # A fresh context: the caller's would keep its request, and its thread, alive.
            self._beating = self._loop.create_task(supervise(self._beat), context=Context())

    async def _beat(self) -> None:
        while self.streams or self._attendants:
            await asyncio.sleep(conf.current().STREAMS.HEARTBEAT / 2)
            for count, stream in enumerate(list(self.streams), start=1):
                stream.beat()
                if count % _BEATS_A_TURN == 0:
                    await asyncio.sleep(0)
            signals.look()
            self._attendants = {each for each in self._attendants if each.beat()}
        beating, self._beating = self._beating, None
        if beating is not None:
            beating.cancel()


_pulses = PerLoop(Pulse)
get_pulse = _pulses.get
"""Return the pulse of the running loop."""

_draining_until = 0.0


def running() -> dict[asyncio.AbstractEventLoop, Pulse]:
    """Return the running loops that have streams or had them, with their pulses; any thread."""
    return _pulses.running()


def drain() -> None:
    """End all streams of the process, and for a minute those that requests under way begin."""
    global _draining_until  # noqa: PLW0603 - one a process
    _draining_until = time.monotonic() + _DRAINING_SECONDS
    for pulse in _pulses.all():
        pulse.drain()


def is_draining() -> bool:
    """Whether a stream that begins now ends at once."""
    return time.monotonic() < _draining_until


class _Streams:
    """The streams of all loops, for ``stopping``."""

    def drain(self) -> None:
        drain()

    def busy(self) -> bool:
        return any(pulse.streams for pulse in running().values())

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        return list(running())


stopping.register(_Streams())


@in_forked_child(Order.STREAMS)
def _forget_after_fork() -> None:
    # The parent stops, not its child.
    global _draining_until  # noqa: PLW0603
    _draining_until = 0.0
