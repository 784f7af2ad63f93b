"""A strict Content Security Policy, the process that answers, and errors instead of tracebacks."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from .errors import BadInput, error_response

# Everything comes from the site itself; nothing is inline. ``data:`` is for the admin's icons.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


class _HeaderMiddleware:
    """Adds to the headers of every response, whoever made it, in a thread or on a loop."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._acall(request)
        return self.add_to(self.get_response(request))

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        return self.add_to(await self.get_response(request))

    def add_to(self, response: HttpResponseBase) -> HttpResponseBase:
        """The response with its headers."""
        raise NotImplementedError


class ContentSecurityPolicyMiddleware(_HeaderMiddleware):
    """Send ``POLICY`` with every response (Content Security Policy Level 3, section 3.1)."""

    def add_to(self, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response


class ProcessMiddleware(_HeaderMiddleware):
    """Name the process that answers: the assistant's page shows who took over from whom."""

    def add_to(self, response: HttpResponseBase) -> HttpResponseBase:
        response.headers["X-Process"] = str(os.getpid())
        return response


class ClearErrorsMiddleware:
    """Answer ``BadInput`` and ``Http404`` from a view in the words of the exception.

    With DEBUG on, Django would show its technical pages instead, which tell a person who follows
    a stale link nothing, and a script even less.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Django's hook for an exception that left the view."""
        if isinstance(exception, BadInput):
            return error_response(request, str(exception), exception.status)
        if isinstance(exception, Http404):
            return error_response(request, str(exception) or "There is no such page.", 404)
        return None
