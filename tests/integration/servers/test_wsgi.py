"""gunicorn's threads: a stream has one, and gives it back as soon as its client has left."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.integration.servers.client import RESET, Stream
from tests.integration.servers.environment import environment
from tests.integration.servers.kinds import on
from tests.integration.servers.notes import Notes
from tests.servers import HOST, Server

gthread = on("gunicorn-gthread")

# Nothing is written to a silent client, so no write can fail.
OPTIONS = {"HEARTBEAT": 600.0}


@gthread
@pytest.mark.parametrize("reset", [False, True], ids=["orderly", "crash"])
@pytest.mark.parametrize(
    ("path", "note"),
    [("/streams/waiting/?name={}", "{}"), ("/slow/noting/{}/", "{} closed")],
    ids=["generator", "subscription"],
)
def test_a_silent_stream_ends_when_its_client_leaves(
    server: Server, notes: Notes, name: str, reset: bool, path: str, note: str
) -> None:
    with Stream(server, path.format(name), reset=reset) as stream:
        stream.next()
        assert notes.count(note.format(name)) == 0
    notes.wait_for(note.format(name))


@gthread
def test_a_client_that_has_sent_its_next_request_already_is_seen_to_leave(
    server: Server, notes: Notes, name: str
) -> None:
    path = f"/streams/waiting/?name={name}"
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    with socket.create_connection((HOST, server.port), timeout=60) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.sendall(request + request)
        received = b""
        while b"hello" not in received:
            received += client.recv(1 << 16)
        # Unread bytes are no end: another stream of the process sees several looks go by.
        with Stream(server, f"/streams/ticking_sync/?name={name}-other") as other:
            other.take(100)
        assert notes.count(name) == 0
    notes.wait_for(name)


@pytest.mark.needs("gunicorn")
def test_the_sync_worker_says_once_why_it_should_not_stream(
    serve: Callable[..., Server], notes: Notes, name: str
) -> None:
    args = ("--worker-class", "sync", "--threads", "1")
    server = serve("gunicorn-gthread", env=environment(notes), args=args)
    for times in (1, 2):
        with Stream(server, f"/streams/waiting/?name={name}") as stream:
            stream.next()
        notes.wait_for(name, times=times)
    with Stream(server, f"/streams/waiting/?name={name}") as stream:
        stream.next()
        stopped = server.stop()
        *_, farewell = stream
    assert farewell.type == "stream-retry"
    assert not stopped.killed
    assert server.output().count("gunicorn's sync worker serves one client at a time") == 1
    assert "--worker-class gthread" in server.output()
