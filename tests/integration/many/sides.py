"""Servers that share one database, each through its own proxy, and requests to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from django_sse.wire import MessageEvent
from tests.databases import PORTS
from tests.integration.servers.answers import Client, data
from tests.looking import eventually
from tests.proxy import Proxy
from tests.servers import HOST, Server


class Side:
    """A server with its own proxy to the database."""

    def __init__(self, env: dict[str, str], proxied: Callable[[int], Proxy]) -> None:
        url = urlsplit(env["DJANGO_SSE_TEST_DATABASE_URL"])
        self._proxy = proxied(url.port or PORTS[url.scheme])
        here = url._replace(netloc=f"{url.username}@{HOST}:{self._proxy.port}")
        env = env | {"DJANGO_SSE_TEST_DATABASE_URL": urlunsplit(here)}
        self.server = Server("uvicorn", env=env, database=Path(env["DJANGO_SSE_TEST_DB"]))

    def lose_database(self, how: str) -> None:
        if how == "stalls":
            self._proxy.stall()
        else:
            self._proxy.refuse()
            self._proxy.cut()

    def find_database(self) -> None:
        self._proxy.restore()

    def begin(self, client: Client, path: str) -> str:
        """Begin a run whose client leaves after the first tokens; return its address."""
        stream, address = client.start(self.server, path)
        with stream:
            stream.take(3)
        return address


def go_by(seconds: float) -> None:
    """Wait for a time, not for an event, because nothing must happen in it."""
    time.sleep(seconds)


def state_of(client: Client, side: Side, address: str) -> str:
    """Return the state of a run as soon as the server has its database again."""
    found: list[str] = []

    def answers() -> bool:
        with suppress(AssertionError):
            found.append(client.status(side.server, address)["state"])
        return bool(found)

    eventually(answers, side.server.output)
    return found[0]


def end_of(client: Client, side: Side, address: str) -> tuple[list[str], MessageEvent]:
    """Return all tokens of a run, and its last event, when it has ended."""
    state = partial(client.status, side.server, address)
    eventually(lambda: state()["state"] != "running", state)
    with client.stream(side.server, address) as replay:
        *events, last = replay
    return data(events), last
