"""The response whose body is an event stream."""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import StreamingHttpResponse

from django_sse.dialects import Dialect
from django_sse.dialects.plain import DONE, Plain
from django_sse.http import ahead
from django_sse.http.headers import CONTENT_TYPE, last_event_id, stream_headers
from django_sse.http.request_body import drop_body, is_still_read
from django_sse.http.wsgi import SyncBody
from django_sse.process.place import Place, may_leave_thread
from django_sse.process.request_thread import close_request_connections
from django_sse.servers import detect, signals
from django_sse.signals import stream_failed
from django_sse.streams.ends import TERMINAL_ID
from django_sse.streams.generator import GeneratorStream
from django_sse.streams.handle import Handle, take_stream
from django_sse.streams.sources import Source
from django_sse.streams.stream import Stream
from django_sse.trust.principals import principal_of
from django_sse.trust.slots import Slot

if TYPE_CHECKING:
    from django.http import HttpRequest

    from django_sse.servers.base import Connection
    from django_sse.wire.event import Event

logger = logging.getLogger("django_sse")

HANDOFF = "django_sse.handoff"
"""The key in the scope of the function that takes a stream over from Django."""


class _Body:
    """The stream as Django holds it: closing it ends the stream, unless that was handed off."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._handed_off = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream

    def hand_off(self) -> None:
        """Leave the stream to somebody else to close."""
        self._handed_off = True

    def close(self) -> None:
        """End the stream; Django calls this from a worker thread."""
        if not self._handed_off:
            self._stream.close()


class EventStreamResponse(StreamingHttpResponse):
    """A response whose body is an event stream.

    ``source`` is what ``subscribe`` returned, or a sync or async iterable of events: an ``Event``,
    a ``str`` of data, or anything the JSON encoder takes. It streams under ASGI and under WSGI.
    ``terminal`` is sent when the source ends; with None an EventSource will reconnect. With a
    ``dialect`` the items are its values, and the ends are its own. Pass ``request`` where there is
    one: without it a subscription begins at ``since``, and the client's position is ignored.

    ``event_stream`` does more: real status codes for what goes wrong before the first item.
    """

    def __init__(
        self,
        source: Handle | Stream | Source = (),
        *args: Any,
        request: HttpRequest | None = None,
        terminal: Event | None = DONE,
        dialect: Dialect | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("content_type", CONTENT_TYPE)
        self._request = request
        dialect = Plain(terminal) if dialect is None else dialect
        self.stream = self._make_stream(source, dialect)
        if self.stream.slot is None:
            self.stream.slot = Slot(principal_of(request))
        self._slot = self.stream.slot
        self._slot.assign(self.stream)
        self._body = _Body(self.stream)
        super().__init__(self._body, *args, **kwargs)
        # When a client leaves before its response is iterated, Django drops it without close().
        weakref.finalize(self, self._body.close).atexit = False
        own = stream_headers(request) | dict(dialect.headers)
        for name, value in own.items():
            self.headers.setdefault(name, value)
        if request is not None:
            self._heed(request)

    def _heed(self, request: HttpRequest) -> None:
        """Do what the decorator would have done for a view that is not decorated."""
        drop_body(request)
        if isinstance(request, WSGIRequest) and isinstance(self.stream, GeneratorStream):
            # Under WSGI the body is read when somebody asks for it. A generator would ask on the
            # loop that all streams share, and a client that sends only half of its body would
            # stop them all.
            is_still_read(request)
        position = last_event_id(request)
        self.stream.last_event_id = position
        if position == TERMINAL_ID:
            self.status_code = 204
            self.headers["Cache-Control"] = "no-store"
        if position == TERMINAL_ID or request.method == "HEAD":
            self.stream.close()

    def _make_stream(self, source: Handle | Stream | Source, dialect: Dialect) -> Stream:
        if isinstance(source, Handle):
            return take_stream(source)
        if isinstance(source, Stream):
            return source
        check_source(source)
        # Not a method of the response: the stream would keep the response in memory.
        report = functools.partial(report_failure, self._request)
        return GeneratorStream(source, dialect, on_error=report)

    # -- before the headers

    async def open(self) -> bool:
        """Take a slot, and settle the position or wait for the first item, on whatever loop will
        stream.

        Returns False when nothing can come any more (answer 204). Raises what the source raises
        before its first item, ``LogUnavailable``, ``Overloaded`` and ``TooManyStreams``. A stream
        that does not begin is closed.
        """
        with self._closing_unless_opened() as opened:
            await self._slot.take()
            opened.append(await self._open())
        return opened[0]

    async def _open(self) -> bool:
        stream = self.stream
        if not isinstance(stream, GeneratorStream):
            return await stream.open()
        place = await Place.of(self._request)
        opened = await place.run(stream.open)
        if place is Place.TEST:
            self.streaming_content = await ahead.ReadAhead.of(stream)
            await stream.ended(ahead.SECONDS)
        return opened

    def open_in_thread(self, *, start: bool = True) -> bool:
        """``open`` for sync views; without ``start`` a generator is left for the first chunk."""
        with self._closing_unless_opened() as opened:
            self._slot.take_in_thread()
            opened.append(self._open_in_thread(start))
        return opened[0]

    def _open_in_thread(self, start: bool) -> bool:
        stream = self.stream
        if not isinstance(stream, GeneratorStream):
            return stream.open_in_thread()
        if not start:
            return True
        if stream.is_sync and may_leave_thread(self._request):
            return stream.open_in_thread()
        return Place.of_thread(self._request).run_from_thread(self._open)

    @contextmanager
    def _closing_unless_opened(self) -> Iterator[list[bool]]:
        # Not left to the garbage collector: the traceback of an error keeps the response for a
        # while, and until then its stream would have a slot.
        opened: list[bool] = []
        try:
            yield opened
        finally:
            if opened != [True]:
                self.stream.close()

    # -- the body

    def __aiter__(self) -> AsyncIterator[bytes]:
        signals.watch()
        if self._replaced:
            return self._closing(super().__aiter__())
        if (take := self._taker()) is not None:
            self._body.hand_off()
            take(self.stream)
            return _nothing()
        # Django would wrap the stream in generators that cost more than its chunks. They are only
        # needed where a middleware has replaced the stream by something of its own.
        return self.stream

    async def _closing(self, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield ``parts``, then close the stream: Django closes no response that fails here."""
        try:
            async for part in parts:
                yield part
        finally:
            self._body.close()

    def _taker(self) -> Callable[[Stream], None] | None:
        """Return the function that takes the stream over from Django, where one may."""
        request = self._request
        if not isinstance(request, ASGIRequest) or self.status_code == 204:
            return None
        take: Callable[[Stream], None] | None = request.scope.get(HANDOFF)
        if isinstance(self.stream, GeneratorStream) and take and is_still_read(request):
            return None
        return take

    @property
    def streaming_content(self) -> Any:
        """See ``StreamingHttpResponse``."""
        return super().streaming_content

    @streaming_content.setter
    def streaming_content(self, value: Any) -> None:
        self._replaced = value is not self._body
        StreamingHttpResponse.streaming_content.fset(self, value)  # type: ignore[union-attr]

    def __iter__(self) -> Iterator[bytes]:
        """The body for a server without an event loop."""
        # The test client sets it on every response: a stream may know no request of its own.
        request = getattr(self, "wsgi_request", None)
        if self.stream.loop is None and Place.of_thread(request) is Place.TEST:
            return iter(async_to_sync(ahead.ReadAhead.of)(aiter(self)))
        if not self.is_async:
            return super().__iter__()
        return SyncBody(aiter(self), self.stream, self._connection)

    @functools.cached_property
    def _connection(self) -> Connection:
        """The client's connection, under WSGI; known only where the response has its request."""
        return detect.wsgi_connection(getattr(self._request, "environ", {}))

    def close(self) -> None:
        """See ``HttpResponseBase``; a WSGI server calls this when the body is sent."""
        super().close()
        self._connection.release()

    def getvalue(self) -> bytes:
        """The whole body, for tests of a stream that ends."""
        return b"".join(self)


def check_source(source: object) -> None:
    """Raise ``TypeError`` unless ``source`` is an iterable of events."""
    if isinstance(source, str | bytes | dict) or not isinstance(source, AsyncIterable | Iterable):
        raise TypeError(
            "An event stream is made of a subscription or an iterable of events, not "
            f"{type(source).__name__}. A view must yield its events, or return their source or a "
            "response."
        )


async def _nothing() -> AsyncIterator[bytes]:
    """The empty body that Django sends for a stream that was handed off."""
    await close_request_connections()
    return
    yield


def report_failure(request: HttpRequest | None, error: BaseException) -> None:
    """Log an error that a generator raised, and send ``stream_failed``."""
    path = request.path if request is not None else "?"
    logger.error("The event stream of %s failed.", path, exc_info=error)
    stream_failed.send_robust(EventStreamResponse, exception=error, request=request)
