"""Streams that a phone left behind when its network changed do not lock it out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.servers.answers import Client
from tests.integration.servers.client import Stream
from tests.integration.slow import ways
from tests.integration.slow.traffic import state
from tests.integration.slow.ways import Reached, Way, serving
from tests.looking import eventually
from tests.vanishing import vanish

# Of a view that has asked who the client is.
PATH = "/channels_with_orm/a/"
OF_OWNER = 3
# granian has its sockets in Rust.
ASKED = [way for way in ways.HANDOFF if way.kind != "granian"]


@pytest.fixture
def reached(way: Way) -> Iterator[Reached]:
    # No heartbeat of the server's own comes in between.
    with serving(way, STREAMS_PER_OWNER=OF_OWNER, HEARTBEAT=600.0) as running:
        yield running


def with_session(reached: Reached) -> Client:
    """A browser whose session is stored: only now its requests have an owner."""
    client = Client()
    client.stream(reached.server, PATH).close()
    assert client.cookies["sessionid"]
    return client


def opened(reached: Reached, stack: ExitStack, phone: Client) -> Stream:
    stream = stack.enter_context(phone.stream(reached.server, PATH))
    assert stream.next().type == "stream-open"
    return stream


@ways.over(ASKED)
def test_the_owner_of_clients_that_vanished_is_let_in(way: Way, reached: Reached) -> None:
    phone = with_session(reached)
    with ExitStack() as stack:
        ghosts = [opened(reached, stack, phone) for _ in range(OF_OWNER - 1)]
        living = opened(reached, stack, phone)
        for ghost in ghosts:
            vanish(ghost.socket)
        opened(reached, stack, phone)
        eventually(lambda: state(reached.server)["slots"] == 2, lambda: state(reached.server))
        # It was asked, too, and took its heartbeat.
        assert living.read() == b":\n"


@ways.over([*ways.HANDOFF, Way("uvicorn", handoff=False)])
def test_the_owner_of_clients_that_live_is_told_to_come_back(way: Way, reached: Reached) -> None:
    phone = with_session(reached)
    with ExitStack() as stack:
        for _ in range(OF_OWNER):
            opened(reached, stack, phone)
        with phone.stream(reached.server, PATH) as stream:
            assert stream.next().type == "stream-retry"
        assert state(reached.server)["slots"] == OF_OWNER
        opened(reached, stack, Client())
