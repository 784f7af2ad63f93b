"""The views, as a user of django_sse writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest

from benchmarks.peers.control import channel_name, tokens
from django_sse import Subscription, event_stream, subscribe


@event_stream
async def stream(request: HttpRequest) -> Subscription:
    return subscribe(channel_name(request.GET.get("channel", "0")))


@event_stream
async def replay(request: HttpRequest) -> Subscription:
    return subscribe(channel_name(request.GET.get("channel", "0")), since="earliest")


@event_stream
async def generate(request: HttpRequest) -> AsyncIterator[dict[str, str]]:
    async for token in tokens():
        yield token


class Reader:
    """Whose runs they are: without middleware a request has neither a user nor a session."""

    is_authenticated = True
    pk = 1


@event_stream(resumable=True)
async def run(request: Any) -> AsyncIterator[dict[str, str]]:
    request.user = Reader()
    return tokens()
