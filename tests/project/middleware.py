"""Middleware as other people write it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def sync_only(get_response: GetResponse) -> GetResponse:
    """Of a time before async: Django runs it, and the view, by way of a thread."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response.headers["X-Sync-Only"] = "yes"
        return response

    return middleware


def wrapping(get_response: GetResponse) -> GetResponse:
    """Puts something of its own in the place of a stream's content, where it is asked to."""

    async def passed_on(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in content:
            yield chunk.replace(b"step", b"STEP")

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response: Any = get_response(request)
        if "wrap" in request.GET and response.streaming:
            response.streaming_content = passed_on(response.streaming_content)
        return response

    return middleware


def failing(get_response: GetResponse) -> GetResponse:
    """Fails after the view has answered, where it is asked to."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if "fail" in request.GET:
            raise RuntimeError("a middleware that fails")
        return response

    return middleware
