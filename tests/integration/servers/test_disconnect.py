"""A client that is gone ends its generator, and the generator's `finally` runs."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.integration.servers.client import Stream, get
from tests.integration.servers.kinds import asgi, every_kind
from tests.integration.servers.notes import Notes
from tests.servers import Server

# Less than a server and two kernels hold for a client that does not read.
SMALL = 4096

leaving = pytest.mark.parametrize("reset", [False, True], ids=["orderly", "crash"])


@leaving
@every_kind
def test_at_its_own_await(server: Server, notes: Notes, name: str, reset: bool) -> None:
    with Stream(server, f"/streams/waiting/?name={name}", reset=reset) as stream:
        assert stream.next().data == "hello"
        assert notes.count(name) == 0
    notes.wait_for(name)


@asgi
def test_before_its_first_item_and_before_the_headers(
    server: Server, notes: Notes, name: str
) -> None:
    with Stream(server, f"/streams/opening/?name={name}"):
        notes.wait_for(f"{name} started")
        assert notes.count(name) == 0
    notes.wait_for(name)


@leaving
@every_kind
@pytest.mark.parametrize("view", ["flooding", "flooding_sync"])
def test_at_its_yield_while_the_client_does_not_read(
    server: Server, notes: Notes, name: str, view: str, reset: bool
) -> None:
    path = f"/streams/{view}/?name={name}"
    with Stream(server, path, receive_buffer=SMALL, reset=reset) as stream:
        # The first chunk is there; from now on nobody takes anything.
        stream.read()
    notes.wait_for(name)


@leaving
@every_kind
def test_in_a_sync_generator(server: Server, notes: Notes, name: str, reset: bool) -> None:
    with Stream(server, f"/streams/ticking_sync/?name={name}", reset=reset) as stream:
        assert stream.next().data == "tick"
        assert notes.count(name) == 0
    notes.wait_for(name)


@every_kind
def test_a_generator_that_never_awaits(server: Server, notes: Notes, name: str) -> None:
    with Stream(server, f"/streams/never_awaits/?name={name}") as stream:
        assert stream.next().data == "x" * 100
    notes.wait_for(name)


@every_kind
def test_a_generator_that_never_awaits_leaves_the_others_their_turn(
    server: Server, notes: Notes, name: str
) -> None:
    path = f"/streams/never_awaits/?name={name}"
    with Stream(server, path, receive_buffer=SMALL) as greedy:
        greedy.next()
        with Stream(server, "/streams/holds_scopes/") as stream:
            assert [event.type for event in stream][-1] == "close"
        assert get(server, "/ok/") == (200, b"ok")
        assert notes.count(name) == 0
    notes.wait_for(name)


@every_kind
def test_an_end_is_noted_once(server: Server, notes: Notes, name: str) -> None:
    with Stream(server, f"/streams/waiting/?name={name}") as stream:
        stream.next()
    notes.wait_for(name)
    # A later request of the same process has been answered: what was to come has come.
    get(server, "/forms/async_generator/", method="HEAD")
    assert notes.count(name) == 1


@asgi
@pytest.mark.parametrize("view", ["waiting", "flooding"])
def test_a_crowd_that_leaves_at_once(server: Server, notes: Notes, name: str, view: str) -> None:
    with ExitStack() as crowd:
        path = f"/streams/{view}/?name={name}"
        for _ in range(50):
            stream = Stream(server, path, receive_buffer=SMALL, reset=True)
            crowd.enter_context(stream).read()
    notes.wait_for(name, times=50)
    assert get(server, "/ok/") == (200, b"ok")
    assert notes.count(name) == 50
