"""A server that is told to stop ends its streams, and then stops."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.servers import Server
from tests.servers_suite.client import Stream
from tests.servers_suite.environment import environment
from tests.servers_suite.notes import Notes

Serve = Callable[..., Server]
# hypercorn's worker gets no signal: that takes the handoff.
KINDS = (
    "daphne",
    "uvicorn",
    "uvicorn-asyncio",
    "granian",
    "runserver-daphne",
    "gunicorn-asgi",
    "gunicorn-gthread",
)


@pytest.mark.parametrize("kind", KINDS)
def test_sigterm_ends_the_streams_cleanly_and_the_server_soon_after(
    kind: str, serve: Serve, notes: Notes, name: str
) -> None:
    server = serve(kind, env=environment(notes))
    with (
        Stream(server, f"/streams/waiting/?name={name}") as generator,
        Stream(server, f"/streams/ticking_sync/?name={name}-sync") as sync_generator,
        Stream(server, f"/channels/{name}/") as channel,
    ):
        opened = (generator, sync_generator, channel)
        for stream in opened:
            stream.next()
        stopped = server.stop()
        retries = set()
        for stream in opened:
            # A clean end of the body: a cut one would raise.
            *_, farewell = stream
            assert (farewell.type, farewell.data) == ("stream-retry", "{}")
            assert stream.retry is not None and 3000 <= stream.retry <= 7000
            retries.add(stream.retry)
    assert not stopped.killed
    assert stopped.seconds < 10
    assert len(retries) > 1
    notes.wait_for(name)
    notes.wait_for(f"{name}-sync")
