"""The response, and the decorator that makes one of a generator or a subscription."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, overload

from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIRequest
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase

from django_sse import conf
from django_sse.background import get_background_loop
from django_sse.exceptions import ImmediateHttpResponse, LogUnavailable, Overloaded
from django_sse.hub import database
from django_sse.hub.stream import Stream, retry_frame
from django_sse.hub.subscription import Subscription
from django_sse.publishing import DONE
from django_sse.signals import stream_failed
from django_sse.streaming import TERMINAL_ID, GeneratorStream, Source
from django_sse.threads import close_connections
from django_sse.wire.cursor import MAX_LENGTH
from django_sse.wire.event import Event

if TYPE_CHECKING:
    from typing import Never

logger = logging.getLogger("django_sse")

CONTENT_TYPE = "text/event-stream; charset=utf-8"


def last_event_id(request: HttpRequest) -> str | None:
    """The position that the client brings: the ``Last-Event-ID`` header (WHATWG HTML, 9.2.4), or
    for clients that cannot set it ``last_event_id`` or ``lastEventId`` in the query. None when it
    brings none.

    The bytes of the header are read as UTF-8, as the standard sends them; servers hand them over
    as Latin-1. It is what the client says: validate it.
    """
    header = request.headers.get("Last-Event-ID")
    if header:
        try:
            return header.encode("latin-1").decode()
        except UnicodeError:
            return header
    return request.GET.get("last_event_id") or request.GET.get("lastEventId") or None


class EventStreamResponse(StreamingHttpResponse):
    """A response whose body is an event stream.

    ``source`` is what ``subscribe`` returned, or a sync or async iterable of events: an ``Event``, a
    ``str`` of data, or anything the JSON encoder takes. It streams under ASGI and under WSGI.
    ``terminal`` is sent when the source ends; None sends nothing, and an EventSource will come back.
    Give ``request`` where there is one: without it a subscription begins at its ``since`` whatever
    position the client brings.

    ``event_stream`` does more: real status codes for what goes wrong before the first item.
    """

    def __init__(
        self,
        source: Subscription | Source = (),
        *args: Any,
        request: HttpRequest | None = None,
        terminal: Event | None = DONE,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("content_type", CONTENT_TYPE)
        self._request = request
        self.stream = self._make_stream(source, terminal)
        super().__init__(self.stream, *args, **kwargs)
        for name, value in _headers(request).items():
            self.headers.setdefault(name, value)

    def _make_stream(self, source: Subscription | Source, terminal: Event | None) -> Stream:
        if isinstance(source, Stream):
            return source
        if isinstance(source, str | bytes | dict) or not isinstance(
            source, AsyncIterable | Iterable
        ):
            raise TypeError(
                "An event stream is made of a subscription or an iterable of events, not "
                f"{type(source).__name__}."
            )
        return GeneratorStream(source, terminal=terminal, on_error=self._report)

    def _report(self, error: Exception) -> None:
        path = self._request.path if self._request is not None else "?"
        logger.error("The event stream of %s failed.", path, exc_info=error)
        stream_failed.send_robust(type(self), exception=error, request=self._request)

    # -- before the headers

    async def open(self) -> bool:
        """Settle the position, or wait for the first item, on whatever loop will stream.

        Returns False when nothing can come any more (answer 204). Raises what the source raises
        before its first item, ``LogUnavailable`` and ``Overloaded``.
        """
        stream = self.stream
        if isinstance(stream, Subscription):
            return await database.run(stream.settle, self._position())
        if isinstance(stream, GeneratorStream):
            if isinstance(self._request, ASGIRequest):
                await stream.open()
            else:
                await asyncio.wrap_future(get_background_loop().submit(stream.open()))
        return True

    def open_in_thread(self) -> bool:
        """``open`` for sync views."""
        stream = self.stream
        if isinstance(stream, Subscription):
            return stream.settle(self._position())
        if isinstance(stream, GeneratorStream) and stream.is_sync:
            stream.open_in_thread()
            return True
        if isinstance(self._request, ASGIRequest):
            return async_to_sync(self.open)()
        return get_background_loop().submit(self.open()).result()

    def _position(self) -> str | None:
        return last_event_id(self._request) if self._request is not None else None

    # -- the body

    def __aiter__(self) -> AsyncIterator[bytes]:
        # Django's own generator round every chunk costs more than the chunk.
        if self._iterator is self.stream:
            return self.stream
        return super().__aiter__()

    def __iter__(self) -> Iterator[bytes]:
        """The body for a server without an event loop."""
        return _SyncBody(aiter(self))

    def getvalue(self) -> bytes:
        """The whole body, for tests of a stream that ends."""
        return b"".join(self)


class _SyncBody:
    """Iterates on the background loop, a chunk at a time: the server's pace is the stream's."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._started = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._started:
            self._started = True
            close_connections()
        chunk = get_background_loop().submit(self._step()).result()
        if chunk is None:
            raise StopIteration
        return chunk

    async def _step(self) -> bytes | None:
        return await anext(self._body, None)


def _headers(request: HttpRequest | None) -> dict[str, str]:
    headers = {
        "Cache-Control": "no-cache, no-transform",
        # nginx in its default set-up buffers a proxied stream to its end without this.
        "X-Accel-Buffering": "no",
        # GZipMiddleware leaves alone what has an encoding; compressed, a stream arrives late or
        # broken (Django 5.2 makes every chunk a gzip member of its own).
        "Content-Encoding": "identity",
    }
    # Hop-by-hop: an error for wsgiref, forbidden on HTTP/2 (RFC 9113, 8.2.2).
    if isinstance(request, ASGIRequest) and request.scope.get("http_version") in ("1.0", "1.1"):
        headers["Connection"] = "keep-alive"
    return headers


# -- answers that are not a stream


def no_content() -> HttpResponse:
    """204: what makes an EventSource stop for good (WHATWG HTML, 9.2.3)."""
    return HttpResponse(status=204, headers={"Cache-Control": "no-store"})


def come_back_later(request: HttpRequest) -> HttpResponse:
    """For overload and a log that is away.

    An EventSource never comes back after a status other than 200, so it gets one frame with a
    jittered ``retry`` and the end of the body; everyone else 503 with Retry-After.
    """
    if request.method == "GET" and "text/event-stream" in request.headers.get("Accept", ""):
        headers = _headers(None) | {"Cache-Control": "no-store"}
        return HttpResponse(retry_frame(), content_type=CONTENT_TYPE, headers=headers)
    seconds = max(1, conf.current().RETRY // 1000)
    return HttpResponse(
        "The event stream is not available just now.",
        status=503,
        content_type="text/plain; charset=utf-8",
        headers={"Retry-After": str(seconds), "Cache-Control": "no-store"},
    )


def refuse(request: HttpRequest) -> HttpResponse | None:
    """The answer to a request that opens no stream, without calling the view."""
    position = last_event_id(request)
    if position is not None and len(position) > MAX_LENGTH:
        return HttpResponseBadRequest(
            f"Last-Event-ID has more than {MAX_LENGTH} characters.",
            content_type="text/plain; charset=utf-8",
        )
    if request.method == "OPTIONS":
        return HttpResponse(headers={"Allow": "GET, HEAD, OPTIONS, POST"})
    if position == TERMINAL_ID:
        return no_content()
    return None


def _head(response: HttpResponseBase | None, request: HttpRequest) -> HttpResponseBase:
    """The headers of a stream without one: daphne would send the body after a HEAD."""
    if response is not None:
        return response
    return HttpResponse(content_type=CONTENT_TYPE, headers=_headers(request))


# -- the decorator

View = Callable[..., Any]


class _Endpoint:
    """A decorated view: what is the same for sync and async ones."""

    def __init__(self, view: View, terminal: Event | None) -> None:
        self.view = view
        self.terminal = terminal
        self.is_generator = inspect.isasyncgenfunction(view) or inspect.isgeneratorfunction(view)

    def answer(self, request: HttpRequest) -> HttpResponseBase | None:
        """What can be said without the view."""
        refused = refuse(request)
        if refused is None and request.method == "HEAD" and self.is_generator:
            return _head(None, request)
        return refused

    def response(self, request: HttpRequest, result: Any) -> HttpResponseBase:
        """From what the view returned to an unopened stream or a finished response."""
        if isinstance(result, HttpResponseBase) and not isinstance(result, EventStreamResponse):
            return result
        if request.method == "HEAD":
            close = getattr(result, "close", None)
            if close is not None:
                close()
            return _head(None, request)
        if isinstance(result, EventStreamResponse):
            return result
        return EventStreamResponse(result, request=request, terminal=self.terminal)

    def failed(self, request: HttpRequest, error: Exception) -> HttpResponseBase:
        """The answer to what was raised before the headers; what is not ours is Django's."""
        if isinstance(error, ImmediateHttpResponse):
            return error.response
        if isinstance(error, LogUnavailable | Overloaded):
            logger.warning("%s: %s", request.path, error)
            return come_back_later(request)
        raise error

    async def acall(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """The view's answer, on an event loop."""
        request = _request(args)
        if answer := self.answer(request):
            return answer
        try:
            result = self.view(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
            response = self.response(request, result)
            if isinstance(response, EventStreamResponse) and not await response.open():
                return no_content()
        except Exception as error:  # noqa: BLE001 - raised again where it is not ours
            return self.failed(request, error)
        return response

    def call(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """The view's answer, in a thread."""
        request = _request(args)
        if answer := self.answer(request):
            return answer
        try:
            response = self.response(request, self.view(*args, **kwargs))
            if isinstance(response, EventStreamResponse) and not response.open_in_thread():
                return no_content()
        except Exception as error:  # noqa: BLE001 - raised again where it is not ours
            return self.failed(request, error)
        return response


def _request(args: tuple[Any, ...]) -> HttpRequest:
    """The request among a view's arguments: the first, or for a method the second."""
    for each in args[:2]:
        if isinstance(each, HttpRequest):
            return each
    raise TypeError("event_stream decorates views: functions or methods that take a request.")


@overload
def event_stream(view: View, /) -> View: ...
@overload
def event_stream(*, terminal: Event | None = ...) -> Callable[[View], View]: ...
def event_stream(
    view: View | None = None, /, *, terminal: Event | None = DONE
) -> View | Callable[[View], View]:
    """Make a view stream: an async or sync generator function, or an async or sync function that
    returns an iterable of events, a subscription, or any other response.

    A generator is started and its first item awaited, ``OPEN_TIMEOUT`` at most, so that
    ``Http404``, ``PermissionDenied`` or ``ImmediateHttpResponse`` raised before the first ``yield``
    are real responses. Errors after that are logged, signalled (``stream_failed``) and sent as
    ``event: error``. ``terminal`` is the event sent when a generator returns: by default
    ``event: close``, ``data: [DONE]``; None sends none, and an EventSource will run the view again.

    HEAD and OPTIONS open no stream. Works on methods of class-based views, too, directly or
    through ``method_decorator``.
    """
    if view is None:
        return functools.partial(_decorate, terminal=terminal)
    return _decorate(view, terminal=terminal)


def _decorate(view: View, *, terminal: Event | None) -> View:
    endpoint = _Endpoint(view, terminal)
    if inspect.iscoroutinefunction(view) or (
        inspect.isasyncgenfunction(view) and not _from_method_decorator(view)
    ):

        @functools.wraps(view)
        async def async_view(*args: Any, **kwargs: Any) -> HttpResponseBase:
            return await endpoint.acall(*args, **kwargs)

        return async_view

    @functools.wraps(view)
    def sync_view(*args: Any, **kwargs: Any) -> HttpResponseBase:
        return endpoint.call(*args, **kwargs)

    return sync_view


def _from_method_decorator(view: View) -> bool:
    """``method_decorator`` hands over a partial, and marks its own wrapper as async only when the
    method is a coroutine function; round an async generator the wrapper must stay sync."""
    return isinstance(view, functools.partial)
