"""A stream that gives what the test puts in."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, cast

from django_sse.streams.stream import Stream

if TYPE_CHECKING:
    from django_sse.streams.pulse import Pulse


class Streams:
    """In place of the loop's pulse: the tests beat and drain the stream themselves."""

    def __init__(self) -> None:
        self.open: list[Stream] = []
        self.registered = 0

    def register(self, stream: Stream) -> None:
        self.registered += 1
        self.open.append(stream)

    def discard(self, stream: Stream) -> None:
        self.open.remove(stream)


class Pipe(Stream):
    """Gives what the test puts in, and then waits."""

    def __init__(self, *chunks: bytes | None, error: BaseException | None = None) -> None:
        super().__init__()
        self.streams = Streams()
        self.chunks = deque(chunks)
        self.starts = 0
        self.ends = 0
        self.ended_in: threading.Thread | None = None
        self._error = error

    async def _start(self) -> None:
        self.starts += 1
        self.attach()

    def attach(self) -> None:
        if self._pulse is None:
            self._loop = asyncio.get_running_loop()
            self._pulse = cast("Pulse", self.streams)
            self._pulse.register(self)

    def _take(self) -> bytes | None:
        if self._error is not None:
            raise self._error
        if not self.chunks:
            return b""
        # An end is for good.
        return self.chunks.popleft() if self.chunks[0] is not None else None

    def _end(self) -> None:
        self.ends += 1
        self.ended_in = threading.current_thread()

    def fail(self, error: BaseException) -> None:
        """Raise ``error`` from now on."""
        self._error = error
        self.wake()

    def put(self, chunk: bytes | None) -> None:
        self.chunks.append(chunk)
        self.wake()
