"""An open response body: what all streams have in common, whatever they carry.

A stream is an asynchronous iterator *object*, not a generator: Django closes a response from a
worker thread and does not call ``aclose``, so ``close`` here is idempotent, may be called from any
thread, and always ends what is behind the stream.
"""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from django_sse import conf
from django_sse.process.threads import release_request_thread
from django_sse.wire.encoder import HEARTBEAT, encode
from django_sse.wire.event import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

logger = logging.getLogger("django_sse")

TERMINAL_ID = "!end"
"""The id of a terminal frame. An EventSource that knows nothing of the frame reconnects with it,
and is told to stop."""


# Seconds that a client has to take what is being written to it when the server stops.
_DRAIN_TIMEOUT = 0.5


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
    """Yields ``bytes``: whole frames, or a heartbeat between two frames.

    Who can send without waiting sets ``on_ready``. Then ``__anext__`` gives ``b""`` instead of
    waiting for what comes next: the stream is *parked*, it has no task of its own any more, and it
    calls ``on_ready`` when ``poll`` may have something.
    """

    def __init__(self) -> None:
        self._hub: StreamHub | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._started = False
        self._closed = False
        self._draining = False
        self._quiet = False
        self._beat_due = False
        self._parked = False
        self._settings = conf.current()
        self.at_tail = False
        """Whether what was polled last is all there was, so that it need not be polled again."""
        self.on_ready: Callable[[], None] | None = None
        self.on_stalled: Callable[[], None] | None = None
        """Called when the client has not taken a chunk for ``SEND_TIMEOUT``; the stream is closed
        by then."""
        self.can_be_dropped = False
        """Whether ``on_stalled`` ends the connection; else a server that stops waits for it."""
        self.sending_since: float | None = None
        """The loop's time at which the chunk was given that is still being sent."""

    # -- for the subclass

    @abstractmethod
    async def _start(self) -> None:
        """Called once, before the first ``_take``."""

    @abstractmethod
    def _take(self) -> bytes | None:
        """What can be sent now; empty when nothing can; None at the end."""

    def _only_waits(self) -> bool:
        """Whether all that a stream with nothing to take needs is to be woken."""
        return True

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
        if self._parked:
            assert self.on_ready is not None
            self.on_ready()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def beat(self) -> None:
        """Called twice a heartbeat: a stream that was silent all the time sends one."""
        if self.sending_since is not None:
            self._look_for_a_stall(self.sending_since)
        elif self._quiet and (self._parked or self._waiter is not None):
            self._quiet = False
            self._beat_due = True
            self.wake()
        else:
            self._quiet = True

    def _look_for_a_stall(self, since: float) -> None:
        assert self._loop is not None
        if self._loop.time() - since > self._settings.SEND_TIMEOUT:
            logger.info("A client has read nothing for %s s.", self._settings.SEND_TIMEOUT)
            self._give_up()

    def _give_up(self) -> None:
        self.close()
        if self.on_stalled is not None:
            self.on_stalled()

    def drain(self) -> None:
        """The server stops: say goodbye and end."""
        self._draining = True
        self.wake()
        if self._loop is not None:
            # The server would wait for a client that reads nothing, some for ever.
            self._loop.call_later(_DRAIN_TIMEOUT, self._give_up_if_sending)

    def _give_up_if_sending(self) -> None:
        if self.can_be_dropped and self.sending_since is not None:
            self._give_up()

    @property
    def send_timeout(self) -> float:
        """Seconds that one write may take."""
        return _DRAIN_TIMEOUT if self._draining else self._settings.SEND_TIMEOUT

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
        self.sending_since = None
        try:
            chunk = await self._next()
        except BaseException:
            # The end, or the client left (CancelledError), or something broke: nobody reads on.
            self._close()
            raise
        if chunk and self._loop is not None:
            self.sending_since = self._loop.time()
        return chunk

    async def _next(self) -> bytes:
        self._parked = False
        if not self._started and not self._closed:
            self._started = True
            await release_request_thread()
            await self._start_unless_closed()
        waited = False
        while not self._closed:
            if self._draining:
                self._close()
                if farewell := self._farewell():
                    return farewell
                break
            chunk = self._take()
            if chunk is None:
                break
            if chunk:
                self._quiet = self._beat_due = False
                if not waited:
                    # A source that is always ready and a server that never blocks would keep
                    # the loop to themselves, and outlive their client.
                    await asyncio.sleep(0)
                return chunk
            if self._beat_due:
                self._beat_due = False
                return HEARTBEAT
            if self.on_ready is not None and self._only_waits():
                self._parked = True
                return b""
            waited = True
            await self._wait()
        if self._draining:
            await self._linger()
        raise StopAsyncIteration

    def unpark(self) -> None:
        """``__anext__`` will be called: until then nothing is to be told."""
        self._parked = False

    def poll(self) -> bytes | None:
        """What a parked stream can send at once: empty when it goes on waiting. None when it takes
        ``__anext__`` to know: at the end, or behind the log."""
        if self._closed or self._draining:
            return None
        chunk = self._take()
        if chunk:
            self._quiet = self._beat_due = False
        elif chunk is not None:
            if self._beat_due:
                self._beat_due = False
                return HEARTBEAT
            if not self._only_waits():
                return None
        return chunk

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
        """The last frame before the server stops; may be empty."""
        return retry_frame()

    async def _linger(self) -> None:  # noqa: B027 - nothing to wait for is usual
        """The goodbye is out: keep the server, which waits for the end of the body, for as long as
        what is behind the stream needs to end."""


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
