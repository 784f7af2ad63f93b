"""A generator's stream: sync or async, each item is sent when it is yielded.

A producer runs the generator and puts encoded frames into a bounded buffer, from which the stream
takes them. So a heartbeat never cancels an item that is being made.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, Callable
from typing import TYPE_CHECKING, Any

from django_sse import conf, constants
from django_sse.exceptions import TooManyStreams
from django_sse.streams.cleaner import REFUSED, Cleaner
from django_sse.streams.ends import COMPLETE, end_frames, failed, last_frames
from django_sse.streams.first_item import FirstItem
from django_sse.streams.producers import Producer, TaskProducer, produce
from django_sse.streams.state import ENDED, NEW
from django_sse.streams.stream import Stream
from django_sse.streams.thread_producer import ThreadProducer
from django_sse.streams.throttle import Throttle

if TYPE_CHECKING:
    from django_sse.dialects import Dialect
    from django_sse.streams.sources import Source

logger = logging.getLogger("django_sse")

# Seconds that an opened stream waits for somebody to read it. A middleware that fails or answers
# with something else leaves it behind: Django closes the response that it sends, and no other.
_ABANDONED_AFTER = 60.0
# A generator's items go out at most once in so many times COALESCE, by default once in a frame on a
# screen: fifty tokens a second are still sent one by one, and a hundred a second look no different.
_PAUSES = 3
# Frames that a producer may be ahead of its client.
_AHEAD = 16
# Seconds that a server that stops is kept for the `finally` of an async generator. Those in threads
# are waited for at the end of the process (django_sse.streams.thread_producer).
_LINGER = 1.0


class GeneratorStream(Stream):
    """The stream of one generator, in one dialect.

    ``on_error`` is called with an exception that the source raised after the headers had gone out,
    in a thread that may use the database.
    """

    def __init__(
        self, source: Source, dialect: Dialect, *, on_error: Callable[[BaseException], None]
    ) -> None:
        super().__init__()
        self._source = source
        self._encoder = dialect.encoder()
        self._cleaner = Cleaner("A stream")
        self._has_stream_events = dialect.has_stream_events
        self._on_error = on_error
        self._json = conf.json_encoder()
        self._limit = constants.WRITE_BYTES
        self._lock = threading.Lock()
        self._buffer: deque[bytes] = deque()
        self._size = 0
        self._complete = False
        self._throttle: Throttle | None = None
        self._wake_posted = False
        self._first = FirstItem()
        self._opened_at: float | None = None
        self._producer: Producer | None = None

    # -- opening

    @property
    def is_sync(self) -> bool:
        """Whether the source is iterated in a thread."""
        return not isinstance(self._source, AsyncIterable)

    async def open(self) -> bool:
        """Start and wait for the first item, ``OPEN_TIMEOUT`` at most; on the loop that streams.

        Raises what the source raises before its first item, and ``Overloaded``. The item that is
        being made is not cancelled by the time-out.
        """
        self.attach()
        self._opened_at = time.monotonic()
        try:
            await self._produce()
            await self._first.wait(conf.current().STREAMS.OPEN_TIMEOUT)
            self._first.send_headers()
        except BaseException:
            self.close()
            raise
        return True

    def open_in_thread(self) -> bool:
        """``open`` for a sync source, from a sync view."""
        self._opened_at = time.monotonic()
        try:
            assert not isinstance(self._source, AsyncIterable)
            try:
                self._producer = ThreadProducer(self, self._source)
            except TooManyStreams as refused:
                if self.slot is None:
                    raise
                self.slot.drop_ghosts_in_thread(refused)
                self._producer = ThreadProducer(self, self._source)
            self._first.wait_in_thread(conf.current().STREAMS.OPEN_TIMEOUT)
            self._first.send_headers()
        except BaseException:
            self.close()
            raise
        return True

    async def _start(self) -> None:
        self.attach()
        if self._opened_at is None:
            self._first.send_headers()
        await self._produce()

    async def _produce(self) -> None:
        if self._producer is None:
            self._producer = await self._new_producer()
            if isinstance(self._producer, TaskProducer):
                assert self._loop is not None
                pause = constants.COALESCE * _PAUSES
                self._throttle = Throttle(self._loop, pause, self.wake)

    async def _new_producer(self) -> Producer:
        try:
            return await produce(self, self._source)
        except TooManyStreams as refused:
            # A ghost has a thread, too.
            if self.slot is None:
                raise
            await self.slot.drop_ghosts(refused)
            return await produce(self, self._source)

    # -- for the producer

    @property
    def owner(self) -> str | None:
        """See ``Sink``."""
        return self.slot.owner if self.slot is not None else None

    @property
    def full(self) -> bool:
        """Whether the producer is as far ahead of its client as it may be."""
        return len(self._buffer) >= _AHEAD or self._size >= self._limit

    @property
    def wants_turn(self) -> bool:
        """Whether what was put waits for its reader's turn on the loop, and for nothing else."""
        return bool(self._buffer) and self._throttle is not None and self._throttle.timer is None

    @property
    def closed(self) -> bool:
        """Whether nobody reads any more, or ever will."""
        return self.state in ENDED or (self.state is NEW and self._abandoned)

    @property
    def _abandoned(self) -> bool:
        if self.state is not NEW or self._opened_at is None:
            return False
        return time.monotonic() - self._opened_at > _ABANDONED_AFTER

    def beat(self) -> None:
        if self._abandoned:
            self._close()
        super().beat()

    def put(self, item: Any) -> None:
        """Take an item. Raises what its encoding does."""
        try:
            frames = self._encoder.frames(item, self._json)
        except REFUSED as error:
            item = self._cleaner.value(item, error, self._encoder)
            frames = self._encoder.frames(item, self._json)
        self._put(frames)
        if not self._first.decided:
            self._first.came()

    def fail(self, error: BaseException) -> bool:
        """Take the source's error. Returns whether to ``report`` it.

        False when a caller still waits for the first item: it will raise the error.
        """
        return self.closed or self._first.failed(error)

    def report(self, error: BaseException) -> None:
        """Tell the project of an error, whether or not the client is still there."""
        self._on_error(error)

    def complete(self, error: BaseException | None = None) -> None:
        """End the stream: the source has ended, or failed and said so with ``fail``.

        Raises what the encoder raises for the end of a whole answer.
        """
        # Half an answer whose client has left needs no end.
        self._put(b"" if self.closed else self._end_frames(error))
        if error is None:
            self._first.came()
        with self._lock:
            self._complete = True
        self._post_wake()

    def _end_frames(self, error: BaseException | None) -> bytes:
        if error is None:
            return last_frames(COMPLETE.events(self._encoder))
        return end_frames(failed(error), self._encoder)

    def _put(self, frame: bytes) -> None:
        with self._lock:
            if frame:
                self._buffer.append(frame)
                self._size += len(frame)
        self._post_wake()

    def _post_wake(self) -> None:
        if self._throttle is not None:
            # On the loop: an item waits a few milliseconds for others, a write costs more than it.
            if self._complete or self.full:
                self._throttle.hurry()
            else:
                self._throttle.ask()
            return
        # No loop yet: the stream was opened in a thread, and whatever iterates it looks first.
        if self._loop is None or self._wake_posted:
            return
        self._wake_posted = True
        try:
            self._loop.call_soon_threadsafe(self.wake)
        except RuntimeError:
            logger.debug("A stream's event loop was closed before its generator ended.")
            self._close()

    async def ended(self, timeout: float) -> None:
        """Wait, on the loop of an open stream, until its source's ``finally`` has run; ``timeout``
        seconds at most."""
        if self._producer is not None:
            await self._producer.ended(timeout)

    async def _linger(self) -> None:
        if not self.is_sync:
            await self.ended(_LINGER)

    # -- the body

    def _take(self) -> bytes | None:
        self._wake_posted = False
        with self._lock:
            if not self._buffer:
                return None if self._complete else b""
            chunk = b"".join(self._buffer)
            self._buffer.clear()
            self._size = 0
        if self._throttle is not None:
            self._throttle.acted()
        if self._producer is not None:
            self._producer.resume()
        return chunk

    def _when_stopped(self, call: Callable[[], object]) -> None:
        # Until then the generator may have a thread and a connection, though its client has left.
        if self._producer is None:
            call()
        else:
            self._producer.when_stopped(call)

    def _end(self) -> None:
        if self._producer is not None:
            self._producer.stop()
        elif (close := getattr(self._source, "close", None)) is not None:
            close()

    def _last_frame(self) -> bytes:
        if self._has_stream_events:
            return super()._last_frame()
        # A vendor's client would take a clean end of the body for a whole answer.
        return end_frames(self._drained_as, self._encoder)
