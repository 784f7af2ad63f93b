"""An iterable of events to bytes: sync or async, each item out when it is yielded.

A producer runs the iterable and hands encoded frames to the stream through a bounded buffer, so a
heartbeat never cancels an item in the making.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from asgiref.sync import sync_to_async
from django.conf import settings as django_settings

from django_sse import conf
from django_sse.exceptions import InvalidEvent, Overloaded, StreamError
from django_sse.hub.hub import get_hub
from django_sse.hub.stream import TERMINAL_ID, Stream
from django_sse.log.entries import json_encoder
from django_sse.producers import TaskProducer, ThreadProducer
from django_sse.threads import in_users_test
from django_sse.wire.encoder import dumps, encode, encode_body, with_id
from django_sse.wire.event import Event

if TYPE_CHECKING:
    import json

logger = logging.getLogger("django_sse")

Source: TypeAlias = "AsyncIterable[Any] | Iterable[Any]"

# Seconds that an opened stream waits for somebody to read it. A middleware that fails or answers
# with something else leaves it behind: Django closes the response that it sends, and no other.
_ABANDONED_AFTER = 60.0
# Frames that a producer may be ahead of its client.
_AHEAD = 16


def encode_terminal(event: Event | None) -> bytes:
    """The last frame of a stream that is complete; empty for None."""
    if event is None:
        return b""
    if event.id is not None:
        raise InvalidEvent(
            "The terminal event has no id of its own: the one it gets makes a client that comes "
            "back with it stop, without running the view again. Remove it."
        )
    return encode(Event(event.data, event.event, TERMINAL_ID, event.retry), json_encoder())


def encode_error(error: BaseException) -> bytes:
    """The last frame of a stream that failed; of all errors only a ``StreamError`` is quoted."""
    message = "The stream failed."
    if isinstance(error, StreamError):
        message = str(error)
    elif django_settings.DEBUG:
        message = f"{type(error).__name__}: {error}"
    # It may quote text that came in broken: an error must not fail for its own text.
    message = message.encode(errors="replace").decode()
    return with_id(TERMINAL_ID, encode_body("error", dumps({"error": message})))


def encode_item(item: Any, json_class: type[json.JSONEncoder]) -> bytes:
    """The frame of what a generator yielded: an ``Event``, a ``str`` of data, or data for JSON."""
    if isinstance(item, str):
        return encode_body(None, item)
    return encode(item if isinstance(item, Event) else Event(item), json_class)


class GeneratorStream(Stream):
    """The stream of one producer.

    ``on_error`` is called with an exception that the source raised after the headers had gone out,
    in a thread that may use the database.
    """

    def __init__(
        self,
        source: Source,
        *,
        terminal: Event | None,
        on_error: Callable[[BaseException], None],
    ) -> None:
        super().__init__()
        self._source = source
        self._terminal = encode_terminal(terminal)
        self._on_error = on_error
        self._json = json_encoder()
        self._limit = conf.current().WRITE_BYTES
        self._lock = threading.Lock()
        self._buffer: deque[bytes] = deque()
        self._size = 0
        self._complete = False
        self._wake_posted = False
        # Done with the first item, the end, or the error that came instead.
        self._first: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._headers_sent = False
        self._opened_at: float | None = None
        self._producer: TaskProducer | ThreadProducer | None = None

    # -- opening

    @property
    def is_sync(self) -> bool:
        """Whether the source is iterated in a thread."""
        return not isinstance(self._source, AsyncIterable)

    async def open(self) -> None:
        """Start and wait for the first item, ``OPEN_TIMEOUT`` at most.

        Raises what the source raises before its first item, and ``Overloaded``. The item in the
        making is not cancelled by the time-out.
        """
        self.attach(get_hub())
        self._opened_at = time.monotonic()
        try:
            await self._produce()
            first = asyncio.wrap_future(self._first)
            if (await asyncio.wait({first}, timeout=conf.current().OPEN_TIMEOUT))[0]:
                # Seen: _send_headers() raises it.
                first.exception()
            self._send_headers()
        except BaseException:
            self.close()
            raise

    def open_in_thread(self) -> None:
        """``open`` for a sync source, from a sync view."""
        self._opened_at = time.monotonic()
        try:
            self._producer = ThreadProducer(self, self._iterable())
            concurrent.futures.wait({self._first}, conf.current().OPEN_TIMEOUT)
            self._send_headers()
        except BaseException:
            self.close()
            raise

    def _send_headers(self) -> None:
        """From here on an error is the client's to hear. Raises the one that came before."""
        with self._lock:
            self._headers_sent = True
            decided = self._first.done()
        if decided:
            self._first.result()

    async def _start(self) -> None:
        self.attach(get_hub())
        self._headers_sent = True
        try:
            await self._produce()
        except Overloaded as error:
            logger.warning("A stream is sent away: %s", error)
            self.drain()

    async def _produce(self) -> None:
        if self._producer is not None:
            return
        if isinstance(self._source, AsyncIterable):
            own_thread = not await in_users_test()
            self._producer = TaskProducer(self, self._source, own_thread=own_thread)
        elif await in_users_test():
            stepped = _step_in_tests_thread(self._iterable())
            self._producer = TaskProducer(self, stepped, own_thread=False)
        else:
            self._producer = ThreadProducer(self, self._iterable())

    def _iterable(self) -> Iterable[Any]:
        assert not isinstance(self._source, AsyncIterable)
        return self._source

    # -- for the producer

    @property
    def full(self) -> bool:
        """Whether the producer is as far ahead of its client as it may be."""
        return len(self._buffer) >= _AHEAD or self._size >= self._limit

    @property
    def closed(self) -> bool:
        """Whether nobody reads any more, or ever will."""
        return self._closed or self._abandoned

    @property
    def _abandoned(self) -> bool:
        if self._started or self._opened_at is None:
            return False
        return time.monotonic() - self._opened_at > _ABANDONED_AFTER

    def beat(self) -> None:
        if self._abandoned:
            self._close()
        super().beat()

    def put(self, item: Any) -> None:
        """An item. Raises what its encoding does."""
        self._put(encode_item(item, self._json))
        with self._lock:
            if not self._first.done():
                self._first.set_result(None)

    def fail(self, error: BaseException) -> bool:
        """The source failed. Returns whether to ``report`` that: False when somebody still waits
        for the first item, and is the one to raise it."""
        with self._lock:
            if self._headers_sent or self._closed or self._first.done():
                return True
            self._first.set_exception(error)
            return False

    def report(self, error: BaseException) -> None:
        """Tell the project of an error, whether or not the client is still there."""
        self._on_error(error)

    def complete(self, error: BaseException | None = None) -> None:
        """The source has ended, or failed and said so with ``fail``."""
        with self._lock:
            if error is None and not self._first.done():
                self._first.set_result(None)
        self._put(self._terminal if error is None else encode_error(error))
        with self._lock:
            self._complete = True
        self._post_wake()

    def _put(self, frame: bytes) -> None:
        with self._lock:
            if frame:
                self._buffer.append(frame)
                self._size += len(frame)
        self._post_wake()

    def _post_wake(self) -> None:
        if isinstance(self._producer, TaskProducer):
            self.wake()
            return
        # No loop yet: the stream was opened in a thread, and whoever iterates it looks first.
        if self._loop is None or self._wake_posted:
            return
        self._wake_posted = True
        try:
            self._loop.call_soon_threadsafe(self.wake)
        except RuntimeError:
            logger.debug("A stream's event loop was closed before its generator ended.")
            self._closed = True

    async def ended(self, timeout: float) -> None:
        """Wait, on the loop of an open stream, until its source's ``finally`` has run; ``timeout``
        seconds at most."""
        if self._producer is not None:
            await self._producer.ended(timeout)

    # -- the body

    def _take(self) -> bytes | None:
        self._wake_posted = False
        with self._lock:
            if not self._buffer:
                return None if self._complete else b""
            chunk = b"".join(self._buffer)
            self._buffer.clear()
            self._size = 0
        if self._producer is not None:
            self._producer.resume()
        return chunk

    def _end(self) -> None:
        if self._producer is not None:
            self._producer.stop()
        elif (close := getattr(self._source, "close", None)) is not None:
            close()


_END = object()


async def _step_in_tests_thread(source: Iterable[Any]) -> AsyncIterator[Any]:
    """The items of ``source``, made where the test's transaction can be seen."""
    iterator = await sync_to_async(lambda: iter(source))()
    step = sync_to_async(lambda: next(iterator, _END))
    try:
        while (item := await step()) is not _END:
            yield item
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            await sync_to_async(close)()
