"""A view whose generator is a run that relays somebody else's answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache

import httpx
from django.http import HttpRequest
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from django_sse import event_stream
from django_sse.relay import relay


@cache
def _upstream() -> httpx.AsyncClient:
    """One a process: each has a pool of its own, and an SSL context that takes long to make."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(trust_env=False, timeout=60, limits=limits)


@csrf_exempt
@event_stream(resumable=True)
async def relayed(request: HttpRequest) -> AsyncIterator[object]:
    """What the address in `upstream` answers."""
    async with _upstream().stream("GET", request.GET["upstream"]) as response:
        async for event in relay(response, until="[DONE]"):
            if event.data != "[DONE]":
                yield event.data


urlpatterns = [path("relayed/", relayed)]
