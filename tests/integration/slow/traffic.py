"""Events in a quantity that no buffer holds, and clients that count them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from django_sse.wire import MessageEvent
from tests import FULL
from tests.integration.servers.client import get
from tests.integration.slow.ways import Client, Reached
from tests.servers import Server

# 60 MiB in the full run, 23 MiB otherwise: more than twice the bound.
SECONDS, RATE = (10, 300) if FULL else (3, 400)
SIZE = 20 << 10
COUNT = RATE * SECONDS


PATH = "/channels/a/"
TIMEOUT = 60 + 4 * SECONDS


@contextmanager
def a_client_that_never_reads(reached: Reached, **options: Any) -> Iterator[Client]:
    """Comes, hears that the stream is open, and stalls."""
    with reached.open(PATH, **options) as client:
        assert client.next().type == "stream-open"
        yield client


@dataclass(frozen=True, slots=True)
class Taken:
    """An event of `flood` and the seconds from its publishing to its arrival."""

    number: int
    delay: float


def flood(server: Server, name: str, count: int, rate: int = RATE, size: int = SIZE) -> None:
    """Has the server's process publish in the background; returns at once."""
    query = f"count={count}&rate={rate}&size={size}"
    assert get(server, f"/slow/flood/{name}/?{query}") == (200, b"begun")


def state(server: Server) -> dict[str, Any]:
    """What the server's process holds of streams, after a garbage collection."""
    status, body = get(server, "/slow/state/")
    assert status == 200
    counts: dict[str, Any] = json.loads(body)
    return counts


def read(event: MessageEvent) -> Taken:
    number, published, _ = event.data.split(" ", 2)
    return Taken(int(number), time.time() - float(published))


def take(client: Client, count: int) -> list[Taken]:
    """The next ``count`` events, all of them of `flood`."""
    return [read(client.next()) for _ in range(count)]


def take_to(client: Client, last: int) -> list[Taken]:
    """The events up to the one with the number ``last``."""
    taken = [read(client.next())]
    while taken[-1].number < last:
        taken.append(read(client.next()))
    return taken


def quantile(delays: Sequence[float], share: float) -> float:
    return sorted(delays)[int(share * (len(delays) - 1))]


class Fast:
    """Clients that read whatever comes, each in a thread."""

    def __init__(self, clients: Sequence[Client], pool: ThreadPoolExecutor) -> None:
        self._clients = clients
        self._pool = pool

    def begin(self, count: int) -> list[Future[list[Taken]]]:
        """All take ``count`` events, from now on."""
        return [self._pool.submit(take, client, count) for client in self._clients]


@contextmanager
def fast_clients(reached: Reached, path: str, count: int = 5) -> Iterator[Fast]:
    with ExitStack() as stack:
        clients = [reached.opened(stack, path) for _ in range(count)]
        for client in clients:
            assert client.next().type == "stream-open"
        pool = stack.enter_context(ThreadPoolExecutor(count))
        yield Fast(clients, pool)


def assert_complete(taken: Sequence[Taken], count: int, first: int = 0) -> None:
    """Every number from ``first`` on, in order, once."""
    assert [each.number for each in taken] == list(range(first, first + count))


def finished(futures: Sequence[Future[list[Taken]]], timeout: float) -> list[list[Taken]]:
    return [future.result(timeout) for future in futures]
