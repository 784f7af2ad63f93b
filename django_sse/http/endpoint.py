"""From a view's result to its answer."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from django_sse.exceptions import (
    ImmediateHttpResponse,
    InvalidChannel,
    LogUnavailable,
    Overloaded,
    StreamError,
    TooManyRuns,
    TooManyStreams,
)
from django_sse.http.answers import (
    come_back_later,
    failed_stream,
    head,
    no_content,
    refuse,
    too_many_runs,
    too_many_streams,
)
from django_sse.http.foreign import unreadable
from django_sse.http.headers import keep_private
from django_sse.http.response import EventStreamResponse
from django_sse.process import threads
from django_sse.process.testcase import in_transaction
from django_sse.servers import signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_sse.dialects import Dialect

    View = Callable[..., Any]

logger = logging.getLogger("django_sse")

_LATER: dict[type[Exception], Callable[[HttpRequest], HttpResponse]] = {
    LogUnavailable: come_back_later,
    Overloaded: come_back_later,
    TooManyRuns: too_many_runs,
    TooManyStreams: too_many_streams,
}
"""The answers to errors after which the client has to come back."""


class Endpoint:
    """A decorated view, sync or async."""

    def __init__(self, view: View, dialect: Dialect) -> None:
        self.view = view
        self.dialect = dialect
        self.is_generator = inspect.isasyncgenfunction(view) or inspect.isgeneratorfunction(view)

    def answer(self, request: HttpRequest) -> HttpResponseBase | None:
        """Return the answer that needs no call of the view, if there is one."""
        refused = refuse(request)
        if refused is None and request.method == "HEAD" and self.is_generator:
            return head(request)
        return refused

    def response(self, request: HttpRequest, result: Any) -> HttpResponseBase:
        """Return the response for what the view returned; a stream is not open yet."""
        if isinstance(result, HttpResponseBase) and not isinstance(result, EventStreamResponse):
            return result
        refused = head(request) if request.method == "HEAD" else unreadable(request)
        if refused is not None:
            close = getattr(result, "close", None)
            if close is not None:
                close()
            return refused
        if isinstance(result, EventStreamResponse):
            return result
        return EventStreamResponse(result, request=request, dialect=self.dialect)

    def failed(self, request: HttpRequest, error: Exception) -> HttpResponseBase:
        """Return the answer to an error that came before the headers, or raise it for Django."""
        if isinstance(error, ImmediateHttpResponse):
            return error.response
        if isinstance(error, StreamError):
            logger.warning("%s: %s", request.path, error)
            return failed_stream(request, error, self.dialect)
        if isinstance(error, InvalidChannel):
            # The view made the name from what the client sent: there is no such channel.
            raise Http404(str(error)) from error
        for kind, answer in _LATER.items():
            if isinstance(error, kind):
                logger.warning("%s: %s", request.path, error)
                return answer(request)
        try:
            raise error
        finally:
            # Its traceback has this frame, so the view's stream would wait for the garbage
            # collector to close it.
            del error

    async def acall(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Call the view and answer, on an event loop."""
        threads.refuse_greenlets("An async view")
        # Before the view: a signal that arrives while it runs has to reach the stream.
        signals.watch()
        request = request_among(args)
        if answer := self.answer(request):
            return answer
        try:
            result = self.view(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
            response = self.response(request, result)
            if isinstance(response, EventStreamResponse):
                if not await response.open():
                    return no_content()
                keep_private(request, response.headers)
        except Exception as error:
            return self.failed(request, error)
        return response

    def call(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Call the view and answer, in a thread."""
        request = request_among(args)
        if answer := self.answer(request):
            return answer
        try:
            response = self.response(request, self.view(*args, **kwargs))
            # With ATOMIC_REQUESTS what the view has written is not committed yet, and the generator
            # that it returned runs elsewhere. A generator function has not even begun.
            start = self.is_generator or not in_transaction()
            if isinstance(response, EventStreamResponse):
                if not response.open_in_thread(start=start):
                    return no_content()
                keep_private(request, response.headers)
        except Exception as error:
            return self.failed(request, error)
        return response


def request_among(args: tuple[Any, ...]) -> HttpRequest:
    """Return the request among a view's arguments: the first, or for a method the second."""
    for each in args[:2]:
        if isinstance(each, HttpRequest):
            return each
    raise TypeError(
        "event_stream decorates a view: a function or method whose first argument is a request."
    )
