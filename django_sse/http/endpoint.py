"""From a view's result to its answer."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from django_sse.exceptions import (
    ImmediateHttpResponse,
    InvalidChannel,
    LogUnavailable,
    Overloaded,
    StreamError,
    TooManyRuns,
)
from django_sse.http.answers import (
    come_back_later,
    failed_stream,
    head,
    no_content,
    refuse,
    too_many_runs,
)
from django_sse.http.response import EventStreamResponse
from django_sse.process.testcase import in_transaction
from django_sse.servers import signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_sse.dialects import Dialect

    View = Callable[..., Any]

logger = logging.getLogger("django_sse")


class Endpoint:
    """A decorated view: what is the same for sync and async ones."""

    def __init__(self, view: View, dialect: Dialect) -> None:
        self.view = view
        self.dialect = dialect
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
        return EventStreamResponse(result, request=request, dialect=self.dialect)

    def failed(self, request: HttpRequest, error: Exception) -> HttpResponseBase:
        """The answer to what was raised before the headers; what is not ours is Django's."""
        if isinstance(error, ImmediateHttpResponse):
            return error.response
        if isinstance(error, StreamError):
            logger.warning("%s: %s", request.path, error)
            return failed_stream(request, error, self.dialect)
        if isinstance(error, InvalidChannel):
            # A name made of what the client wrote: there is no such channel.
            raise Http404(str(error)) from error
        if isinstance(error, LogUnavailable | Overloaded | TooManyRuns):
            logger.warning("%s: %s", request.path, error)
            return too_many_runs() if isinstance(error, TooManyRuns) else come_back_later(request)
        raise error

    async def acall(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """The view's answer, on an event loop."""
        # What stops the server meanwhile has to reach the stream.
        signals.watch()
        request = request_among(args)
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
        request = request_among(args)
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


def request_among(args: tuple[Any, ...]) -> HttpRequest:
    """The request among a view's arguments: the first, or for a method the second."""
    for each in args[:2]:
        if isinstance(each, HttpRequest):
            return each
    raise TypeError("event_stream decorates views: functions or methods that take a request.")
