"""An open response body: what all streams have in common, whatever they carry.

A stream is an asynchronous iterator *object*, not a generator: Django closes a response from a
worker thread and does not call ``aclose``, so ``close`` here is idempotent, may be called from any
thread, and always ends what is behind the stream.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from django_sse import conf
from django_sse.threads import release_request_thread
from django_sse.wire.encoder import HEARTBEAT, encode
from django_sse.wire.event import Event

if TYPE_CHECKING:
    from typing import Self


TERMINAL_ID = "!end"
"""The id of a terminal frame. An EventSource that knows nothing of the frame reconnects with it,
and is told to stop."""


END = ("close", "[DONE]")
"""Event type and data of the usual terminal event."""


def retry_frame() -> bytes:
    """``event: stream-retry``: come back later; at random, so that not all come at once."""
    settings = conf.current()
    milliseconds = settings.RETRY + random.randint(0, settings.RETRY_JITTER)
    return encode(Event("{}", event="stream-retry", retry=milliseconds))


class StreamHub(Protocol):
    """Who beats and drains streams: the hub."""

    def register(self, stream: Stream) -> None: ...

    def discard(self, stream: Stream) -> None: ...


class Stream(ABC):
    """Yields ``bytes``: whole frames, or a heartbeat between two frames."""

    def __init__(self) -> None:
        self._hub: StreamHub | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._started = False
        self._closed = False
        self._draining = False
        self._quiet = False
        self._beat_due = False

    # -- for the subclass

    @abstractmethod
    async def _start(self) -> None:
        """Called once, before the first ``_take``."""

    @abstractmethod
    def _take(self) -> bytes | None:
        """What can be sent now; empty when nothing can; None at the end."""

    async def _wait(self) -> None:
        """Wait until ``_take`` may have something."""
        assert self._loop is not None
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    @abstractmethod
    def _end(self) -> None:
        """Let go of what is behind the stream; on the loop. Called once, or, when the stream was
        closed during its start, once more after it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that the stream lives on, once it has begun."""
        return self._loop

    # -- for the hub and the topics; all on the loop

    def attach(self, hub: StreamHub) -> None:
        """Bind the stream to the running loop; the hub beats it from now on."""
        if self._hub is None:
            self._loop = asyncio.get_running_loop()
            self._hub = hub
            hub.register(self)

    def wake(self) -> None:
        """There is something to take."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def beat(self) -> None:
        """Called twice a heartbeat: a stream that was silent all the time sends one."""
        if self._quiet and self._waiter is not None:
            self._quiet = False
            self._beat_due = True
            self.wake()
        else:
            self._quiet = True

    def drain(self) -> None:
        """The server stops: say goodbye and end."""
        self._draining = True
        self.wake()

    def close(self) -> None:
        """End the stream: from any thread, any number of times."""
        loop = self._loop
        if loop is None or loop.is_closed() or _running_loop() is loop:
            self._close()
        else:
            loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._hub is not None:
            self._hub.discard(self)
        self._end()
        self.wake()

    # -- the body

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """``close`` for ``contextlib.aclosing``."""
        self.close()

    async def __anext__(self) -> bytes:
        try:
            return await self._next()
        except StopAsyncIteration:
            self._close()
            raise
        except BaseException:
            # The client left (CancelledError) or something broke: either way nobody reads on.
            self._close()
            raise

    async def _next(self) -> bytes:
        if not self._started and not self._closed:
            self._started = True
            await release_request_thread()
            await self._start_unless_closed()
        waited = False
        while not self._closed:
            if self._draining:
                self._close()
                return self._farewell()
            chunk = self._take()
            if chunk is None:
                break
            if chunk:
                self._quiet = False
                if not waited:
                    # A source that is always ready and a server that never blocks would keep
                    # the loop to themselves, and outlive their client.
                    await asyncio.sleep(0)
                return chunk
            waited = True
            await self._wait()
            if self._beat_due:
                self._beat_due = False
                return HEARTBEAT
        raise StopAsyncIteration

    async def _start_unless_closed(self) -> None:
        if self._closed:
            return
        try:
            await self._start()
        finally:
            if self._closed:
                # Closed meanwhile: what the start has taken since then goes, too.
                self._end()

    def _farewell(self) -> bytes:
        return retry_frame()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
