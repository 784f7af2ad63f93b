"""A generator that never ends by itself, and that has no client any more."""

from __future__ import annotations

import pytest

from tests.integration.servers.answers import Client, code
from tests.integration.servers.kinds import on
from tests.integration.servers.notes import Notes
from tests.servers import Server

EVENTS = 3000
OPTIONS = {"RUN_EVENTS": EVENTS}


@on("uvicorn", "gunicorn-gthread")
@pytest.mark.parametrize("view", ["endless", "sync_endless"])
def test_it_stores_no_more_than_its_ceiling(
    server: Server, notes: Notes, name: str, view: str
) -> None:
    client = Client()
    with client.stream(server, f"/{view}/?name={name}") as stream:
        address = stream.header("Location")
        stream.take(2)
    assert address is not None
    # Its `finally` has run.
    notes.wait_for(name)
    with client.stream(server, address) as stream:
        _, *tokens, last = stream
    assert len(tokens) == EVENTS
    assert code(last) == "limit_events"
    status = client.status(server, address)
    assert (status["state"], status["events"]) == ("error", EVENTS + 1)
    assert "RUN_EVENTS" in server.output()
