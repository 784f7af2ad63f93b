"""Ten clients whose connections break again and again, while thousands of events are published:
each has every event exactly once, in the order of the log."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import h11
import httpx
import pytest

from django_sse.wire import Decoder, MessageEvent
from tests import ROOT
from tests.positions import untagged
from tests.requirements import require
from tests.servers import HOST, KINDS, Server

CLIENTS = 10
PUBLISHERS = 4
EVENTS = 5000
CHANNEL = "soak"
TIMEOUT = 180.0

# Waits for a line, so that all begin together.
PUBLISHER = """
import sys
import django
django.setup()
from django_sse import publish
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    publish(sys.argv[1], f"{sys.argv[3]} {number}")
"""


@dataclass
class Client:
    """One reader. Its connections end after a number of bytes that chance decides, anywhere in a
    frame, and it comes back with the id of the last event it has whole."""

    ports: list[int]
    seed: int
    events: list[MessageEvent] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    async def run(self) -> None:
        while len(self.events) < EVENTS:
            await self._connect()
            if self._chance.random() < 0.2:
                # Away for a moment: the ring moves on, and it comes back to a replay.
                await asyncio.sleep(self._chance.random() / 2)

    def _request(self, connection: h11.Connection, port: int) -> bytes:
        headers = [("Host", f"{HOST}:{port}"), ("Accept", "text/event-stream")]
        if self.events:
            headers.append(("Last-Event-ID", self.events[-1].last_event_id))
        target = f"/channels/{CHANNEL}/?since=earliest"
        request = connection.send(h11.Request(method="GET", target=target, headers=headers))
        return (request or b"") + (connection.send(h11.EndOfMessage()) or b"")

    async def _connect(self) -> None:
        port = self._chance.choice(self.ports)
        self.connections += 1
        connection = h11.Connection(h11.CLIENT)
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(self._request(connection, port))
            await self._read(reader, connection, self._chance.choice([0, 500, 5_000, 50_000]))
        finally:
            # At once, with what is in the buffers: not a polite end.
            writer.transport.abort()

    async def _read(
        self, reader: asyncio.StreamReader, connection: h11.Connection, size: int
    ) -> None:
        left = self._chance.randint(0, size)
        decoder = Decoder()
        while left and len(self.events) < EVENTS:
            data = await reader.read(left)
            left -= len(data)
            connection.receive_data(data)
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Response):
                    assert event.status_code == 200
                elif isinstance(event, h11.Data):
                    self._take(decoder.feed(bytes(event.data)))
                else:
                    raise AssertionError(f"the server ended the stream: {event!r}")

    def _take(self, events: list[MessageEvent]) -> None:
        for event in events:
            if event.type == "stream-open":
                position = self.events[-1].last_event_id if self.events else event.last_event_id
                assert event.last_event_id == position
            else:
                assert event.type == "message", event
                self.events.append(event)


def assert_every_event_once_and_in_order(client: Client) -> None:
    ids = [untagged(event.last_event_id) for event in client.events]
    epoch = ids[0].partition("-")[0]
    assert ids == [f"{epoch}-{seq}" for seq in range(1, EVENTS + 1)]
    by_publisher: dict[str, list[int]] = {}
    for event in client.events:
        publisher, number = event.data.split()
        by_publisher.setdefault(publisher, []).append(int(number))
    assert list(by_publisher.values()) == [list(range(EVENTS // PUBLISHERS))] * PUBLISHERS


async def soak(servers: list[Server], publish: Callable[[], Coroutine[None, None, None]]) -> None:
    ports = [server.port for server in servers]
    clients = [Client(ports, seed) for seed in range(CLIENTS)]
    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run())
        group.create_task(publish())
    for client in clients:
        assert_every_event_once_and_in_order(client)
        assert client.events == clients[0].events
        assert client.connections > 5


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    """Two server processes over one database."""
    require(*KINDS["uvicorn"].needs)
    with ExitStack() as stack:
        first = stack.enter_context(Server("uvicorn"))
        second = stack.enter_context(Server("uvicorn", database=first.database))
        yield [first, second]


@pytest.fixture
def publishers(servers: list[Server]) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that publish to the servers' database when told."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DJANGO_SSE_TEST_DB": str(servers[0].database),
    }
    environment.pop("DJANGO_SSE_TEST_DATABASE_URL", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, CHANNEL, str(EVENTS // PUBLISHERS), str(number)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PUBLISHERS)
    ]
    yield processes
    for process in processes:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


async def test_processes_publish_while_connections_break(
    servers: list[Server], publishers: list[subprocess.Popen[str]]
) -> None:
    async def publish() -> None:
        for process in publishers:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        results = await asyncio.gather(
            *[asyncio.to_thread(process.communicate, "go\n", TIMEOUT) for process in publishers]
        )
        assert results == [("", "")] * PUBLISHERS

    await soak(servers, publish)


async def test_threads_of_a_serving_process_publish_while_connections_break(
    servers: list[Server],
) -> None:
    async def publish() -> None:
        url = f"{servers[0].url}/publish_from_threads/{CHANNEL}/"
        query = {"threads": PUBLISHERS, "count": EVENTS // PUBLISHERS}
        async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT) as client:
            assert (await client.post(url, params=query)).text == "done"

    await soak(servers, publish)
