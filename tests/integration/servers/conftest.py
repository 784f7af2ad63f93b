"""Servers that tests share, and the notes that their generators leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

from tests.integration.servers.environment import environment
from tests.integration.servers.notes import Notes
from tests.requirements import require
from tests.servers import KINDS, TEST_SITE, Server, Site

_numbers = count()


@pytest.fixture(scope="session")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Notes:
    """What the generators of the servers write down."""
    return Notes(tmp_path_factory.mktemp("notes") / "notes")


class Pool:
    """Servers that are kept for the next test that asks for the same: the last few of them."""

    SIZE = 4

    def __init__(self) -> None:
        self._servers: dict[object, Server] = {}

    def get(self, kind: str, site: Site, env: dict[str, str]) -> Server:
        key = (kind, site, json.dumps(env, sort_keys=True))
        server = self._servers.pop(key, None)
        if server is None:
            if len(self._servers) == self.SIZE:
                self._close(next(iter(self._servers)))
            server = Server(kind, site=site, env=env)
        self._servers[key] = server
        if not server.running:
            server.start()
        return server

    def _close(self, key: object) -> None:
        self._servers.pop(key).close()

    def close(self) -> None:
        while self._servers:
            self._close(next(iter(self._servers)))


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    with closing(Pool()) as pool:
        yield pool


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, notes: Notes, pool: Pool) -> Server:
    """A server of the pool; `kinds.on` names the kinds. The module's `OPTIONS` are its
    `DJANGO_SSE`, its `SITE` the project to serve."""
    kind: str = request.param
    require(*KINDS[kind].needs)
    env = environment(notes, **getattr(request.module, "OPTIONS", {}))
    return pool.get(kind, getattr(request.module, "SITE", TEST_SITE), env)


@pytest.fixture(autouse=True)
def shown(request: pytest.FixtureRequest) -> Iterator[None]:
    """pytest shows what the server wrote, if the test fails."""
    shared = "server" in request.fixturenames and request.getfixturevalue("server")
    before = len(shared.output()) if shared else 0
    yield
    if shared:
        print(f"--- {shared.kind} wrote:\n{shared.output()[before:]}")


@pytest.fixture
def name() -> str:
    """A name that no other test of this process uses: for a channel, a gate, a note."""
    return f"name-{next(_numbers)}"
