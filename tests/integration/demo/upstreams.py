"""An upstream that sends exactly the bytes it is told to, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@dataclass
class Upstream:
    """Answers each request with ``pieces``, each its own write; then closes, as ``end`` says.

    ``end``: ``"close"`` in order, ``"reset"`` the connection, or ``"hold"`` it open in silence.
    """

    pieces: Iterable[bytes]
    end: str = "close"
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await read_request(reader))
            self.asked.set()
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
            if self.end == "hold":
                await reader.read()
            elif self.end == "reset":
                writer.transport.abort()
        except ConnectionError:
            pass  # the reader had enough: what an endless upstream is stopped by
        finally:
            self.left.set()
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The request's line, headers (names in lower case) and JSON body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    raw = {line.split(":", 1)[0].lower(): line.split(": ", 1)[1] for line in head[1:] if line}
    return {"line": head[0], "headers": raw, "body": json.loads(body)}


@asynccontextmanager
async def running(pieces: Iterable[bytes], end: str = "close") -> AsyncIterator[Upstream]:
    """An ``Upstream`` on a free port of loopback; its ``url`` is the base of the API."""
    upstream = Upstream(pieces, end)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield upstream
    finally:
        server.close()
