"""A model that somebody else runs. Prints "ready", then its port.

`GET /?name=7&count=500&rate=50` streams `7 0` to `7 499`, so many a second, and `[DONE]`. Then it
waits until the other side closes: a connection that nobody closes stays open and is counted.
`GET /count` answers with what there was so far, as JSON.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from urllib.parse import parse_qs, urlsplit

from tests.servers import HOST

_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nConnection: close\r\n\r\n"


@dataclass
class Upstream:
    """How many streams were asked for, how many of their connections are open, and how many tokens
    were sent in all."""

    asked: int = 0
    open: int = 0
    sent: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            if target == "/count":
                writer.write((_HEAD.format("application/json") + json.dumps(asdict(self))).encode())
                await writer.drain()
            else:
                await self._stream(target, reader, writer)
        writer.close()

    async def _stream(
        self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        self.asked += 1
        self.open += 1
        try:
            writer.write(_HEAD.format("text/event-stream").encode())
            await self._send(query["name"], int(query["count"]), float(query["rate"]), writer)
            await reader.read()
        finally:
            self.open -= 1

    async def _send(self, name: str, count: int, rate: float, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number in range(count):
            await asyncio.sleep(started + number / rate - loop.time())
            writer.write(f"data: {name} {number}\n\n".encode())
            await writer.drain()
            self.sent += 1
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(Upstream().answer, HOST, 0, backlog=1000)
    async with server:
        print("ready", server.sockets[0].getsockname()[1], sep="\n", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
