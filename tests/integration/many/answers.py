"""Readers of relayed runs in a process of their own, whose connections break again and again.

    python -m tests.integration.many.answers UPSTREAM FIRST LAST TOKENS RATE PORT PORT...

One reader for each number from FIRST to LAST - 1. It starts a run at one of the ports, in turns, is
cut about once a second, comes back to any of them with the id of the last event that it has, and
reads its run again, whole, when it has ended. Each seventh stops its run on the way. Prints "ready"
when all have the address of their run, and at the end a list of `Reader.told()` as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode

import h11

from django_sse.wire import Decoder, MessageEvent
from tests.positions import untagged
from tests.servers import HOST

ENDS = ("close", "error")
STOPPED_OF = 7
_CSRF = "c" * 32
# Longer than any test: only a hang takes so long, s.
_PATIENCE = 180.0


class Site(NamedTuple):
    """What all readers ask for."""

    upstream: str
    tokens: int
    rate: float
    ports: list[int]


@dataclass
class Reader:
    """The client of one run."""

    number: int
    site: Site
    events: list[MessageEvent] = field(default_factory=list)
    port: int = 0
    ended: float = 0.0
    connections: int = 0
    _address: str = ""
    _cookies: str = f"csrftoken={_CSRF}"
    stopped: bool = False
    asked_to_stop: bool = False

    def __post_init__(self) -> None:
        self._chance = random.Random(self.number)
        self.started = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether it has the end of its run."""
        return bool(self.events) and self.events[-1].type in ENDS

    def told(self) -> dict[str, Any]:
        """What a test wants to know: `end` is the data of the terminal event, `tokens` how many
        came before it, `ended` when it came, on the clock of all processes, `stopped` whether this
        reader was told that it ended it; where it asked, the answer may have been cut."""
        return {
            "number": self.number,
            "port": self.port,
            "stopped": self.stopped,
            "tokens": len(self.events) - 1,
            "type": self.events[-1].type,
            "end": self.events[-1].data,
            "ended": self.ended,
            "asked_to_stop": self.asked_to_stop,
            "connections": self.connections,
        }

    async def read_all(self) -> None:
        """The run to its end, and then once more. Raises `AssertionError`."""
        self.port = self.site.ports[self.number % len(self.site.ports)]
        query = {"name": self.number, "count": self.site.tokens, "rate": self.site.rate}
        upstream = f"{self.site.upstream}?{urlencode(query)}"
        while not self._address:
            await self._visit(self.port, "POST", f"/relayed/?{urlencode({'upstream': upstream})}")
        while not self.over:
            await self._visit(self._any_port(), "GET", self._address)
        self.check()
        await self._read_back()

    def check(self) -> None:
        """Each token once and in its place, and one end."""
        *before, last = self.events
        epoch = before[0].last_event_id.partition("-")[0]
        ids = [f"{epoch}-{seq}" for seq in range(1, len(self.events) + 1)]
        assert [untagged(event.last_event_id) for event in self.events] == ids, (
            f"{self.number}: ids"
        )
        tokens = [f"{self.number} {number}" for number in range(len(before))]
        assert [event.data for event in before] == tokens, f"{self.number}: tokens"
        assert {event.type for event in before} == {"message"}, f"{self.number}: types"
        assert last.type in ENDS, last

    async def _read_back(self) -> None:
        again = Reader(self.number, self.site, _address=self._address, _cookies=self._cookies)
        # Not cut: in one piece.
        while not again.over:
            again.events.clear()
            await again._visit(self._any_port(), "GET", self._address, life=_PATIENCE)
        assert again.events == self.events, f"{self.number} was read back as something else"

    def _any_port(self) -> int:
        return self._chance.choice(self.site.ports)

    async def _visit(self, port: int, method: str, path: str, life: float = 0.0) -> None:
        """One connection, which ends after a while, whatever it is doing."""
        connection = _Connection()
        try:
            await connection.open(port, method, path, self._headers())
        except OSError:
            # The server is dead, or died meanwhile.
            await asyncio.sleep(0.05)
            return
        self.connections += 1
        self._note(connection.response)
        try:
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(life or self._chance.uniform(0.5, 1.5)):
                    await self._read(connection)
        finally:
            connection.abort()

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "text/event-stream", "Cookie": self._cookies, "X-CSRFToken": _CSRF}
        if self.events:
            headers["Last-Event-ID"] = self.events[-1].last_event_id
        return headers

    def _note(self, response: h11.Response) -> None:
        headers = {name.decode(): value.decode() for name, value in response.headers}
        assert response.status_code == 200, (self.number, self.events[-1:], response)
        self._address = headers["content-location"]
        if "set-cookie" in headers:
            self._cookies += "; " + headers["set-cookie"].partition(";")[0]
        self.started.set()

    async def _read(self, connection: _Connection) -> None:
        decoder = Decoder()
        while (data := await connection.data()) and not self.over:
            for event in decoder.feed(data):
                self._take(event)
            if self.number % STOPPED_OF == 0 and len(self.events) > self.site.tokens / 10:
                await self._stop()

    def _take(self, event: MessageEvent) -> None:
        if event.type == "stream-open":
            position = self.events[-1].last_event_id if self.events else event.last_event_id
            assert event.last_event_id == position, (self.number, event)
            return
        assert not event.type.startswith("stream-"), (self.number, event)
        self.events.append(event)
        if self.over:
            self.ended = asyncio.get_running_loop().time()

    async def _stop(self) -> None:
        """Once; any server will do."""
        if self.stopped or self.over:
            return
        self.asked_to_stop = True
        connection = _Connection()
        path = self._address.replace("/events/", "/stop/")
        with suppress(OSError):
            await connection.open(self._any_port(), "POST", path, self._headers())
            assert connection.response.status_code == 200, connection.response
            self.stopped = json.loads(await connection.data())["stopped"]
        connection.abort()


class _Connection:
    """One request and its response. Its errors are `OSError`."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.response: h11.Response

    async def open(self, port: int, method: str, path: str, headers: dict[str, str]) -> None:
        self._reader, self._writer = await asyncio.open_connection(HOST, port)
        fields = [("Host", HOST), ("Content-Length", "0"), *headers.items()]
        request = h11.Request(method=method, target=path, headers=fields)
        self._writer.write(self._http.send(request) or b"")
        self._http.send(h11.EndOfMessage())
        response = await self._next()
        if not isinstance(response, h11.Response):
            raise ConnectionResetError
        self.response = response

    async def data(self) -> bytes:
        """What has come of the body; empty at its end. Raises `ConnectionError` where it is cut."""
        event = await self._next()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def _next(self) -> Any:
        assert self._reader is not None
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(1 << 16))
        except h11.RemoteProtocolError as error:
            # Cut in the middle of the body.
            raise ConnectionResetError from error
        return event

    def abort(self) -> None:
        """At once, with what is in the buffers: not a polite end."""
        if self._writer is not None:
            self._writer.transport.abort()


async def main(upstream: str, first: str, last: str, tokens: str, rate: str, *ports: str) -> None:
    site = Site(upstream, int(tokens), float(rate), [int(port) for port in ports])
    readers = [Reader(number, site) for number in range(int(first), int(last))]
    async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
        for reader in readers:
            group.create_task(reader.read_all())
        for reader in readers:
            await reader.started.wait()
        print("ready", flush=True)
    print(json.dumps([reader.told() for reader in readers]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
