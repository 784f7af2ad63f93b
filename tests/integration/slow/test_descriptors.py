"""A process with few descriptors has room for ordinary requests, whoever asks for streams."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.servers.answers import Client
from tests.integration.servers.client import Stream, get
from tests.options import environ
from tests.requirements import require
from tests.servers import KINDS, Server

SERVERS = ("daphne", "uvicorn", "granian")
DESCRIPTORS = 150
STREAMS = 200
# All but 64 of the descriptors, and a quarter of that.
OF_PROCESS, OF_OWNER = 86, 22
ACCEPT = {"Accept": "text/event-stream"}
# Of a view that asked who the client is, and of one that did not.
OWNED, PUBLIC = "/channels_with_orm/a/", "/channels/a/"


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    require(*KINDS[request.param].needs)
    with Server(request.param, env=environ(HEARTBEAT=1.0)) as running:
        for pid in running.pids():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        yield running


def fill(server: Server, stack: ExitStack, client: Client | None) -> Counter[str]:
    """Open ``STREAMS`` streams as EventSources do; count the types of their first events."""
    first: Counter[str] = Counter()
    path = OWNED if client else PUBLIC
    for _ in range(STREAMS):
        stream = client.stream(server, path) if client else Stream(server, path, headers=ACCEPT)
        stack.callback(stream.close)
        told = stream.next().type
        first[told] += 1
        if told == "stream-retry":
            # Its body has ended, and with it the connection.
            stream.close()
    return first


def assert_answers(server: Server) -> None:
    for _ in range(20):
        assert get(server, "/ok/") == (200, b"ok")
    assert "Too many open files" not in server.output()


def test_one_user_gets_no_more_than_a_share(server: Server) -> None:
    user = Client()
    # Only a session that is stored tells its client from others.
    user.stream(server, OWNED).close()
    with ExitStack() as stack:
        first = fill(server, stack, user)
        assert first == {"stream-open": OF_OWNER, "stream-retry": STREAMS - OF_OWNER}
        assert_answers(server)
        with Client().stream(server, OWNED) as stream:
            assert stream.next().type == "stream-open"


def test_many_clients_leave_descriptors_for_ordinary_requests(server: Server) -> None:
    with ExitStack() as stack:
        first = fill(server, stack, None)
        assert first == {"stream-open": OF_PROCESS, "stream-retry": STREAMS - OF_PROCESS}
        assert_answers(server)
        assert get(server, PUBLIC)[0] == 503
