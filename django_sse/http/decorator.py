"""``event_stream``: from a view to a stream."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, overload

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from django_sse.exceptions import (
    ImmediateHttpResponse,
    InvalidChannel,
    LogUnavailable,
    Overloaded,
    StreamError,
)
from django_sse.http.answers import come_back_later, failed_stream, head, no_content, refuse
from django_sse.http.response import EventStreamResponse
from django_sse.publishing import DONE
from django_sse.threads import in_transaction
from django_sse.wire.event import Event

logger = logging.getLogger("django_sse")

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
            return head(request)
        return refused

    def response(self, request: HttpRequest, result: Any) -> HttpResponseBase:
        """From what the view returned to an unopened stream or a finished response."""
        if isinstance(result, HttpResponseBase) and not isinstance(result, EventStreamResponse):
            return result
        if request.method == "HEAD":
            close = getattr(result, "close", None)
            if close is not None:
                close()
            return head(request)
        if isinstance(result, EventStreamResponse):
            return result
        return EventStreamResponse(result, request=request, terminal=self.terminal)

    def failed(self, request: HttpRequest, error: Exception) -> HttpResponseBase:
        """The answer to what was raised before the headers; what is not ours is Django's."""
        if isinstance(error, ImmediateHttpResponse):
            return error.response
        if isinstance(error, StreamError):
            logger.warning("%s: %s", request.path, error)
            return failed_stream(request, error)
        if isinstance(error, InvalidChannel):
            # A name made of what the client wrote: there is no such channel.
            raise Http404(str(error)) from error
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
        except Exception as error:
            return self.failed(request, error)
        return response

    def call(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """The view's answer, in a thread."""
        request = _request(args)
        if answer := self.answer(request):
            return answer
        try:
            response = self.response(request, self.view(*args, **kwargs))
            # With ATOMIC_REQUESTS what the view has written is not committed yet, and the generator
            # that it returned runs elsewhere. A generator function has not even begun.
            start = self.is_generator or not in_transaction()
            if isinstance(response, EventStreamResponse):
                return response if response.open_in_thread(start=start) else no_content()
        except Exception as error:
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
