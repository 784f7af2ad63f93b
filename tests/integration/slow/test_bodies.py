"""A request's body is not kept for as long as its stream lasts."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.integration.servers.client import Stream
from tests.integration.slow.memory import resident
from tests.options import environ
from tests.requirements import require
from tests.servers import KINDS, Server

SERVERS = ("daphne", "uvicorn", "uvicorn-in-django", "granian", "gunicorn-gthread")
STREAMS = 12
# Less than Django refuses.
BODY = b"x" * (2 << 20)


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("path", ["/streams/waiting/?name=x", "/channels/a/"])
def test_get_with_a_large_body_costs_no_more_than_without(kind: str, path: str) -> None:
    require(*KINDS[kind].needs)
    with Server(kind, env=environ(HEARTBEAT=60.0)) as server, ExitStack() as crowd:

        def opened() -> None:
            stream = crowd.enter_context(Stream(server, path, data=BODY))
            stream.next()

        # Whatever the first one loads.
        opened()
        memory, files = resident(server), len(server.open_files())
        for _ in range(STREAMS):
            opened()
        assert resident(server) - memory < STREAMS * len(BODY) / 2
        # A socket each, and the database's.
        assert len(server.open_files()) - files < STREAMS + 8
