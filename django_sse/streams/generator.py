"""An iterable of events to bytes: sync or async, each item out when it is yielded.

A producer runs the iterable and hands encoded frames to the stream through a bounded buffer, so a
heartbeat never cancels an item in the making.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings

from django_sse import conf
from django_sse.exceptions import InvalidEvent, Overloaded, StreamError
from django_sse.hub.hub import get_hub
from django_sse.log.entries import json_encoder
from django_sse.streams.first_item import FirstItem
from django_sse.streams.producers import (
    Producer,
    Source,
    TaskProducer,
    ThreadProducer,
    produce,
)
from django_sse.streams.stream import TERMINAL_ID, Stream
from django_sse.wire.encoder import dumps, encode, encode_body, with_id
from django_sse.wire.event import Event

if TYPE_CHECKING:
    import json
    from collections.abc import Sequence

    from django_sse.dialects import Encoder

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
# are waited for at the end of the process (django_sse.streams.producers).
_LINGER = 1.0


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


STOPPING = "The server was stopped before the answer was complete."
"""What a client hears of an answer that the end of its process cut short."""


def error_message(error: BaseException) -> str:
    """What a client hears of ``error``; of all errors only a ``StreamError`` is quoted."""
    message = "The stream failed."
    # An error must not fail for its own text: its ``__str__`` may raise, and what it quotes may
    # have come in broken.
    with suppress(Exception):
        if isinstance(error, StreamError):
            message = str(error)
        elif django_settings.DEBUG:
            message = f"{type(error).__name__}: {error}"
    return message.encode(errors="replace").decode()


def encode_error(error: BaseException) -> bytes:
    """The last frame of a stream that failed."""
    data = dumps({"error": error_message(error), "code": "error"})
    return with_id(TERMINAL_ID, encode_body("error", data))


def encode_item(item: Any, json_class: type[json.JSONEncoder]) -> bytes:
    """The frame of what a generator yielded: an ``Event``, a ``str`` of data, or data for JSON."""
    if isinstance(item, str):
        return encode_body(None, item)
    return encode(item if isinstance(item, Event) else Event(item), json_class)


def encode_events(events: Sequence[Event]) -> bytes:
    """The frames of what a dialect made of a value."""
    json_class = json_encoder()
    return b"".join([encode(event, json_class) for event in events])


def encode_last_events(events: Sequence[Event]) -> bytes:
    """The frames of what ends an answer in a dialect."""
    return encode_events(events[:-1]) + encode_terminal(events[-1])


class GeneratorStream(Stream):
    """The stream of one producer.

    With an ``encoder`` the items are values of its dialect, and the ends are the dialect's, too.
    ``on_error`` is called with an exception that the source raised after the headers had gone out,
    in a thread that may use the database.
    """

    def __init__(
        self,
        source: Source,
        *,
        terminal: Event | None,
        on_error: Callable[[BaseException], None],
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__()
        self._source = source
        self._encoder = encoder
        self._terminal = encode_terminal(terminal)
        self._on_error = on_error
        self._json = json_encoder()
        self._limit = self._settings.WRITE_BYTES
        self._lock = threading.Lock()
        self._buffer: deque[bytes] = deque()
        self._size = 0
        self._complete = False
        self._wake_posted = False
        self._pause = self._settings.COALESCE * _PAUSES
        self._taken_at = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._first = FirstItem()
        self._begun = False
        self._opened_at: float | None = None
        self._producer: Producer | None = None

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
            await self._first.wait(conf.current().OPEN_TIMEOUT)
            self._first.send_headers()
        except BaseException:
            self.close()
            raise

    def open_in_thread(self) -> None:
        """``open`` for a sync source, from a sync view."""
        self._opened_at = time.monotonic()
        try:
            assert not isinstance(self._source, AsyncIterable)
            self._producer = ThreadProducer(self, self._source)
            self._first.wait_in_thread(conf.current().OPEN_TIMEOUT)
            self._first.send_headers()
        except BaseException:
            self.close()
            raise

    async def _start(self) -> None:
        self.attach(get_hub())
        if self._opened_at is None:
            self._first.send_headers()
        try:
            await self._produce()
        except Overloaded as error:
            logger.warning("A stream is sent away: %s", error)
            self.drain()

    async def _produce(self) -> None:
        if self._producer is None:
            self._producer = await produce(self, self._source)

    # -- for the producer

    @property
    def full(self) -> bool:
        """Whether the producer is as far ahead of its client as it may be."""
        return len(self._buffer) >= _AHEAD or self._size >= self._limit

    @property
    def wants_turn(self) -> bool:
        """Whether what was put waits for its reader's turn on the loop, and for nothing else."""
        return bool(self._buffer) and self._timer is None

    @property
    def closed(self) -> bool:
        """Whether nobody reads any more, or ever will."""
        return self._closed or (not self._started and self._abandoned)

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
        if self._encoder is None:
            self._put(encode_item(item, self._json))
        else:
            self._put(encode_events(self._encoder.encode(item)))
        if not self._begun:
            self._begun = True
            self._first.came()

    def fail(self, error: BaseException) -> bool:
        """The source failed. Returns whether to ``report`` that: False when somebody still waits
        for the first item, and is the one to raise it."""
        return self._closed or self._first.failed(error)

    def report(self, error: BaseException) -> None:
        """Tell the project of an error, whether or not the client is still there."""
        self._on_error(error)

    def complete(self, error: BaseException | None = None) -> None:
        """The source has ended, or failed and said so with ``fail``. Raises what the encoder raises
        for the end of a whole answer."""
        # Half an answer whose client has left is asked for no end.
        self._put(b"" if self._closed else self._last_frames(error))
        if error is None:
            self._first.came()
        with self._lock:
            self._complete = True
        self._post_wake()

    def _last_frames(self, error: BaseException | None) -> bytes:
        if self._encoder is None:
            return self._terminal if error is None else encode_error(error)
        if error is None:
            return encode_last_events(self._encoder.done())
        return self._broken_off(self._encoder, error_message(error))

    def _broken_off(self, encoder: Encoder, message: str, code: str = "error") -> bytes:
        try:
            return encode_last_events(encoder.failed(message, code))
        except Exception:
            # A stream must end all the same.
            logger.exception("A dialect has no words for an answer that broke off.")
            return encode_error(StreamError(message))

    def _farewell(self) -> bytes:
        if self._encoder is None:
            return super()._farewell()
        # A client that knows nothing of ours would take a clean end for a whole answer.
        return self._broken_off(self._encoder, STOPPING, "interrupted")

    def _put(self, frame: bytes) -> None:
        with self._lock:
            if frame:
                self._buffer.append(frame)
                self._size += len(frame)
        self._post_wake()

    def _wake_soon(self) -> None:
        """Wake at once after a quiet moment, or when there is no room for more; else let what comes
        within a few milliseconds go out in one write: a write costs more than an event."""
        if self._complete or self.full:
            self._wake_now()
        elif self._timer is None:
            assert self._loop is not None
            wait = self._taken_at + self._pause - self._loop.time()
            if wait <= 0:
                self.wake()
            else:
                self._timer = self._loop.call_later(wait, self._wake_now)

    def _wake_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.wake()

    def _post_wake(self) -> None:
        if isinstance(self._producer, TaskProducer):
            self._wake_soon()
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
        assert self._loop is not None
        self._taken_at = self._loop.time()
        if self._producer is not None:
            self._producer.resume()
        return chunk

    def _end(self) -> None:
        if self._producer is not None:
            self._producer.stop()
        elif (close := getattr(self._source, "close", None)) is not None:
            close()
