"""Sync generators whose clients read nothing keep their threads for SEND_TIMEOUT, not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.servers.notes import Notes
from tests.integration.slow import ways
from tests.integration.slow.ways import Reached, Way, serving
from tests.looking import eventually

SEND_TIMEOUT = 2.0
# All that the process may have.
GENERATORS = 8
ACCEPT = [("accept", "text/event-stream")]


@pytest.fixture
def notes(tmp_path) -> Notes:
    return Notes(tmp_path / "notes")


@pytest.fixture
def reached(way: Way, notes: Notes) -> Iterator[Reached]:
    env = {"DJANGO_SSE_TEST_NOTES": str(notes.path)}
    options = {"HEARTBEAT": 0.5, "SEND_TIMEOUT": SEND_TIMEOUT, "SYNC_GENERATORS": GENERATORS}
    with serving(way, env, **options) as running:
        yield running


def first_event(reached: Reached, path: str) -> str:
    with reached.open(path, headers=ACCEPT) as client:
        return client.next().type


@ways.over([*ways.HANDOFF, *ways.HTTP2, *ways.IN_DJANGO])
def test_clients_that_never_read_leave_room_for_others(
    way: Way, reached: Reached, notes: Notes
) -> None:
    with ExitStack() as crowd:
        for _ in range(GENERATORS):
            narrow = {"narrow": True} if way.protocol != "1.1" else {"receive_buffer": 4096}
            reached.opened(crowd, "/streams/flooding_sync/?name=idle", **narrow).next()
        notes.wait_for("idle", GENERATORS)
        eventually(lambda: first_event(reached, "/sync_generator/") == "tick", lambda: "refused")
