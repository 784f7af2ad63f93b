"""A hand-written Django view: a queue for each client, as most who need a stream write it."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"], INSTALLED_APPS=[], MIDDLEWARE=[], ROOT_URLCONF=__name__, SECRET_KEY="bench"
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

from benchmarks.peers.control import Control, channel_name, tokens  # noqa: E402

clients: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)


async def publish(events: list[tuple[str, dict[str, str]]]) -> None:
    for channel, data in events:
        text = json.dumps(data, separators=(",", ":"))
        for queue in clients[channel]:
            queue.put_nowait(text)


def event_stream(events: AsyncIterator[str]) -> StreamingHttpResponse:
    return StreamingHttpResponse(events, content_type="text/event-stream")


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    channel = channel_name(request.GET.get("channel", "0"))
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def events() -> AsyncIterator[str]:
        clients[channel].add(queue)
        # daphne sends the head with the first of the body: the browser would not know it is open.
        yield ":\n\n"
        try:
            while True:
                yield f"data: {await queue.get()}\n\n"
        finally:
            clients[channel].discard(queue)

    return event_stream(events())


async def generate(request: HttpRequest) -> StreamingHttpResponse:
    async def events() -> AsyncIterator[str]:
        async for token in tokens():
            yield f"data: {json.dumps(token, separators=(',', ':'))}\n\n"

    return event_stream(events())


urlpatterns: list[Any] = [path("stream", stream), path("generate", generate)]
application = Control(get_asgi_application(), publish)
