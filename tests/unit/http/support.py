"""Requests and bodies without a server."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.test import AsyncRequestFactory, RequestFactory

from django_sse import EventStreamResponse
from django_sse.wire import Decoder, MessageEvent

CLOSE = b"id: !end\nevent: close\ndata: [DONE]\n\n"


def asgi_request(method: str = "GET", path: str = "/", **headers: str) -> HttpRequest:
    """A request as Django makes it under ASGI; ``headers`` with underscores for hyphens."""
    return AsyncRequestFactory().generic(method, path, headers=_names(headers))


def wsgi_request(method: str = "GET", path: str = "/", **headers: str) -> HttpRequest:
    """A request as Django makes it under WSGI."""
    return RequestFactory().generic(method, path, headers=_names(headers))


def _names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


async def body(response: HttpResponseBase) -> bytes:
    """The whole body of a stream that ends."""
    assert isinstance(response, EventStreamResponse)
    return b"".join([chunk async for chunk in response])


async def events(response: HttpResponseBase) -> list[MessageEvent]:
    """The events of a stream that ends."""
    return Decoder().feed(await body(response))


async def first(response: HttpResponseBase, count: int) -> list[MessageEvent]:
    """The first events of a stream; then its client leaves."""
    assert isinstance(response, EventStreamResponse)
    decoder = Decoder()
    seen: list[MessageEvent] = []
    async for chunk in response:
        seen += decoder.feed(chunk)
        if len(seen) >= count:
            break
    response.close()
    return seen


def frames(*items: Any) -> bytes:
    """Frames without ids and types: what generators of plain text send."""
    return b"".join(b"data: %s\n\n" % str(item).encode() for item in items)
