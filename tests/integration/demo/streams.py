"""Reading a stream from Django's test client."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from django_sse.wire import Decoder, MessageEvent


async def events_of(response: Any) -> AsyncGenerator[MessageEvent, None]:
    """The events of a response, as they come; closes it at the end."""
    assert response.status_code == 200, response.content
    assert response["Content-Type"].startswith("text/event-stream")
    decoder = Decoder()
    try:
        if not response.streaming:
            # One that failed before its first item.
            for event in decoder.feed(response.content):
                yield event
            return
        async for chunk in response.streaming_content:
            for event in decoder.feed(chunk):
                yield event
    finally:
        response.close()


async def take(response: Any, count: int) -> list[MessageEvent]:
    """The first ``count`` events; fewer if the stream ends before."""
    taken: list[MessageEvent] = []
    async with aclosing(events_of(response)) as events:
        async for event in events:
            taken.append(event)
            if len(taken) == count:
                break
    return taken


async def everything(response: Any) -> list[MessageEvent]:
    """All events of a stream that ends."""
    return [event async for event in events_of(response)]
