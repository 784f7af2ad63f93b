"""sse-starlette: a queue for each client, as its documentation shows it."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from benchmarks.peers.control import Control, channel_name, tokens

clients: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)


async def publish(events: list[tuple[str, dict[str, str]]]) -> None:
    for channel, data in events:
        text = json.dumps(data, separators=(",", ":"))
        for queue in clients[channel]:
            queue.put_nowait(text)


async def stream(request: Request) -> EventSourceResponse:
    channel = channel_name(request.query_params.get("channel", "0"))
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def events() -> AsyncIterator[dict[str, str]]:
        clients[channel].add(queue)
        try:
            while True:
                yield {"data": await queue.get()}
        finally:
            clients[channel].discard(queue)

    return EventSourceResponse(events(), sep="\n")


async def generate(request: Request) -> EventSourceResponse:
    async def events() -> AsyncIterator[dict[str, str]]:
        async for token in tokens():
            yield {"data": json.dumps(token, separators=(",", ":"))}

    return EventSourceResponse(events(), sep="\n")


application = Control(
    Starlette(routes=[Route("/stream", stream), Route("/generate", generate)]), publish
)
