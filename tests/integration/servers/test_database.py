"""Generators that use the ORM, and what they hold while they wait."""

from __future__ import annotations

import pytest

from tests.integration.servers.client import Stream, get
from tests.integration.servers.kinds import every_kind, on
from tests.looking import eventually, until_free_of_database
from tests.servers import Server

# So short that every wait of these tests is longer.
OPTIONS = {"THREAD_IDLE": 0.05}
MANY_HEARTBEATS = b":\n" * 3


@every_kind
@pytest.mark.parametrize("view", ["asks_the_database", "asks_the_database_sync"])
def test_a_generator_uses_the_orm_and_the_session_at_every_step(
    server: Server, name: str, view: str
) -> None:
    with Stream(server, f"/streams/{view}/?name={name}") as stream:
        first = stream.next().data
        count = int(first.rpartition(":")[2].rstrip("}"))
        stream.read_until(lambda body: body.endswith(MANY_HEARTBEATS))
        get(server, f"/streams/make_users/?names={name}", method="POST")
        get(server, f"/open_gate/{name}/")
        assert stream.next().data == f'{{"count":{count + 1}}}'
        assert [event.type for event in stream] == ["close"]
        # The session of the generator's first step became the request's cookie.
        assert (stream.header("Set-Cookie") or "").startswith("sessionid=")


@every_kind
def test_a_queryset_is_read_on_over_any_wait(server: Server, name: str) -> None:
    users = [f"{name}-user-{number}" for number in range(3)]
    get(server, f"/streams/make_users/?names={','.join(users)}", method="POST")
    with Stream(server, f"/streams/rows/?name={name}") as stream:
        for user in users:
            assert stream.next().data == user
            stream.read_until(lambda body: body.endswith(MANY_HEARTBEATS))
            get(server, f"/open_gate/{name}/")
        assert [event.type for event in stream] == ["close"]


# Not runserver: its own look at the migrations leaves a connection open in its main thread.
@on("daphne", "uvicorn", "uvicorn-asyncio", "granian", "hypercorn")
def test_a_generator_that_waits_holds_no_connection_and_no_thread(server: Server) -> None:
    with Stream(server, "/streams/asks_then_waits/") as stream:
        stream.next()
        # No other stream is open in this process.
        until_free_of_database(server)
        eventually(lambda: "django_sse" not in threads_of(server), lambda: threads_of(server))


def threads_of(server: Server) -> str:
    return get(server, "/streams/process/")[1].decode()
