"""How the load generator makes a Python server publish, the same for all of them.

``POST /publish?n=16&seq=1&size=100&channels=1`` publishes ``n`` events inside the process, numbered
from ``seq`` on, each ``size`` bytes of JSON; event ``i`` goes to channel ``i % channels``.
``POST /go?tokens=200`` opens the gate that the generators of ``/generate`` wait at; with
``rate=50`` each makes so many tokens a second, not all in step. The requests are answered round the
application, not by it: what they cost is not what is measured.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs

Scope = dict[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
Publish = Callable[[list[tuple[str, dict[str, str]]]], Awaitable[object]]

TOKEN_BYTES = 40


def make_data(seq: int, size: int) -> dict[str, str]:
    """Event data of ``size`` bytes of compact JSON, with the moment it was made."""
    mark = f"#{seq}@{time.monotonic_ns()};"
    return {"event": mark, "pad": "x" * (size - len(mark) - len('{"event":"","pad":""}'))}


def channel_name(number: int | str) -> str:
    return f"bench-{number}"


class Go(NamedTuple):
    """How many tokens each client is to get, and how many a second; 0: as fast as they go."""

    tokens: int
    rate: int = 0


class Gate:
    """Where generators wait, so that all begin to stream at once, connected already."""

    def __init__(self) -> None:
        self._opened: asyncio.Future[Go] | None = None

    def _future(self) -> asyncio.Future[Go]:
        if self._opened is None or self._opened.done():
            self._opened = asyncio.get_running_loop().create_future()
        return self._opened

    async def wait(self) -> Go:
        return await asyncio.shield(self._future())

    def open(self, tokens: int, rate: int = 0) -> None:
        self._future().set_result(Go(tokens, rate))


gate = Gate()


async def tokens() -> AsyncIterator[dict[str, str]]:
    """What a model would answer: each token is awaited. Begins with one that says: ready."""
    yield make_data(0, TOKEN_BYTES)
    go = await gate.wait()
    started = time.monotonic() + (random.random() / go.rate if go.rate else 0.0)
    for number in range(1, go.tokens + 1):
        due = started + number / go.rate if go.rate else 0.0
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        yield make_data(number, TOKEN_BYTES)


class Control:
    """An ASGI application round ``app``."""

    def __init__(self, app: App, publish: Publish) -> None:
        self._app = app
        self._publish = publish
        # What was imported is not garbage; every server is spared the same.
        gc.collect()
        gc.freeze()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            await self._control(scope)
            head = {"type": "http.response.start", "status": 200}
            await send({**head, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, send)

    async def _control(self, scope: Scope) -> None:
        query = parse_qs(scope["query_string"].decode())
        asked = {name: int(values[0]) for name, values in query.items()}
        if scope["path"] == "/go":
            gate.open(asked["tokens"], asked.get("rate", 0))
            return
        first, count, channels = asked["seq"], asked["n"], asked["channels"]
        await self._publish(
            [
                (channel_name(seq % channels), make_data(seq, asked["size"]))
                for seq in range(first, first + count)
            ]
        )
