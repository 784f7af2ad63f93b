"""However a stream ends, its slot is free afterwards: the count never drifts."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.integration.servers.answers import ENDLESS, Client, stop_of
from tests.integration.servers.client import Stream, get
from tests.integration.servers.kinds import every_kind
from tests.integration.servers.notes import Notes
from tests.integration.slow.traffic import state
from tests.looking import eventually
from tests.servers import Server, Site

SITE = Site("tests.project.middleware_settings", "tests.project", "DJANGO_SSE_TEST_DB", "/ok/")
OPTIONS = {"OPEN_TIMEOUT": 30.0}

WHOLE = (
    "/async_generator/",
    "/sync_generator/",
    "/sync_function_of_async/",
    "/plain_response/",
    "/plain_response_sync/",
    "/fails/?error=404",
    "/fails_sync/?error=404",
    "/fails/?error=other&after=1",
    "/fails_sync/?error=other&after=1",
    "/async_generator/?wrap=1",
    "/async_generator/?fail=1",
    "/channels/a/?fail=1",
)


def assert_all_are_free(server: Server) -> None:
    eventually(lambda: state(server)["slots"] == 0, lambda: state(server))


@every_kind
def test_the_stream_ends_or_never_begins(server: Server) -> None:
    for path in WHOLE:
        get(server, path)
        get(server, path, method="HEAD")
        get(server, path, headers={"Last-Event-ID": "!end"})
    assert_all_are_free(server)


@every_kind
@pytest.mark.parametrize("reset", [False, True])
def test_the_client_leaves(server: Server, notes: Notes, name: str, reset: bool) -> None:
    paths = ("streams/waiting", "streams/ticking_sync", "streams/flooding", "streams/flooding_sync")
    with ExitStack() as crowd:
        for path in (*(f"/{path}/?name={name}" for path in paths), f"/channels/{name}/"):
            stream = crowd.enter_context(Stream(server, path, receive_buffer=4096, reset=reset))
            stream.next()
        assert state(server)["slots"] == 5
    notes.wait_for(name, 4)
    assert_all_are_free(server)


@every_kind
def test_the_client_leaves_before_the_first_byte(server: Server, notes: Notes, name: str) -> None:
    with Stream(server, f"/streams/late/?name={name}"):
        eventually(lambda: state(server)["slots"] == 1, lambda: state(server))
    # Under WSGI the view notices nothing until it has something to send.
    get(server, f"/open_gate/{name}/")
    assert_all_are_free(server)


@every_kind
def test_a_client_of_a_run_leaves(server: Server, name: str) -> None:
    client = Client()
    stream, address = client.start(server, f"/answer/?name={name}&{ENDLESS}")
    with stream:
        assert state(server)["slots"] == 1
        client.post(server, stop_of(address))
        while stream.read():
            pass
    with client.stream(server, address) as stream:
        while stream.read():
            pass
    with client.start(server, f"/answer/?name={name}&{ENDLESS}")[0]:
        pass
    assert_all_are_free(server)
