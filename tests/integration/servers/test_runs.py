"""Answers that survive their client, on every server."""

from __future__ import annotations

import json
import socket

import pytest

from tests.integration.servers.answers import END, ENDLESS, Client, code, data, stop_of, tokens
from tests.integration.servers.kinds import every_kind, wsgi
from tests.integration.servers.notes import Notes
from tests.servers import HOST, Server


@pytest.fixture
def client() -> Client:
    return Client()


@every_kind
@pytest.mark.parametrize("view", ["answer", "sync_answer"])
def test_a_run_goes_on_without_its_client_who_comes_back_to_it(
    server: Server, notes: Notes, name: str, view: str, client: Client
) -> None:
    stream, address = client.start(server, f"/{view}/?count=15&pause=0.05&name={name}")
    with stream:
        seen = stream.take(3)
    # Nobody is connected: it is made once all the same.
    notes.wait_for(name)
    with client.stream(server, address, seen[-1].last_event_id) as stream:
        opening, *rest = stream
    assert opening.type == "stream-open"
    assert data(seen) + data(rest) == tokens(15)
    assert (rest[-1].type, rest[-1].data) == END
    with client.stream(server, address) as stream:
        assert data(list(stream)) == tokens(15)
    assert client.stream(server, address, rest[-1].last_event_id).status == 204
    assert notes.count(f"{name} began") == 1


@every_kind
def test_the_view_itself_resumes_and_makes_no_second_answer(
    server: Server, notes: Notes, name: str, client: Client
) -> None:
    path = f"/answer/?count=10&pause=0.05&name={name}"
    with client.stream(server, path) as stream:
        seen = stream.take(4)
    with client.stream(server, path, seen[-1].last_event_id) as stream:
        rest = list(stream)
    assert data(seen) + data(rest) == tokens(10)
    # A stranger's position, or one of a run that is gone, is not asked for twice either.
    assert Client().stream(server, path, seen[-1].last_event_id).status == 204
    assert client.stream(server, path, "zzzzzzzzzzz-3").status == 204
    assert notes.count(f"{name} began") == 1


@every_kind
def test_a_second_window_joins_and_a_stop_ends_both(
    server: Server, notes: Notes, name: str, client: Client
) -> None:
    stream, address = client.start(server, f"/answer/?{ENDLESS}&name={name}&cleanup=0.1")
    with stream, client.stream(server, address) as second:
        first_tokens = data(stream.take(3))
        assert data(second.take(4)) == first_tokens == tokens(3)
        assert client.post(server, stop_of(address)) == {"stopped": True}
        for each in (stream, second):
            *before, last = each
            assert code(last) == "aborted"
            assert all(event.type == "message" for event in before)
    # Its clean-up awaits, and is not broken off.
    notes.wait_for(name)
    assert client.post(server, stop_of(address)) == {"stopped": False}
    assert client.status(server, address)["state"] == "aborted"


@every_kind
def test_for_others_there_is_no_such_run(server: Server, name: str, client: Client) -> None:
    stream, address = client.start(server, f"/answer/?count=3&name={name}")
    with stream:
        list(stream)
    stranger = Client()
    stranger.start(server, "/answer/?count=1")[0].close()
    for path, method in [
        (address, "GET"),
        (stop_of(address), "POST"),
        (address.replace("events/", ""), "GET"),
    ]:
        assert stranger.stream(server, path, method=method).status == 404
    assert stranger.stream(server, address, "!end").status == 204
    nowhere = "/runs/00000000-0000-0000-0000-000000000000/events/"
    assert client.stream(server, nowhere).status == 404


@every_kind
def test_what_fails_before_its_first_item_is_an_answer_and_no_run(
    server: Server, client: Client
) -> None:
    assert client.stream(server, "/run_fails/?at=missing", method="POST").status == 404
    assert client.stream(server, "/run_fails/?at=first", method="POST").status == 500
    with client.stream(server, "/run_fails/?at=text", method="POST") as stream:
        (event,) = stream
        assert json.loads(event.data) == {"error": "out of paper", "code": "error"}
        assert stream.header("Location") is None
    for at in ("middle", "finally", "cannot"):
        stream, address = client.start(server, f"/run_fails/?at={at}")
        with stream:
            first, last = stream
        assert (first.data, last.type) == ("token 0", "error")
        assert "secret" not in last.data
        assert client.status(server, address)["state"] == "error"


@every_kind
def test_a_vendors_dialect_has_nothing_of_ours_in_it(server: Server, client: Client) -> None:
    with client.stream(server, "/run_chat/?count=3", method="POST") as stream:
        *chunks, done = stream
        body = stream.body
    assert done.data == "[DONE]"
    assert {event.type for event in chunks} == {"message"}
    text = "".join(
        json.loads(each.data)["choices"][0]["delta"].get("content") or "" for each in chunks
    )
    assert text == "token 0 token 1 token 2 "
    assert b"stream-" not in body
    assert b"retry" not in body


@every_kind
def test_what_was_sent_with_the_request_can_be_read_when_it_is_over(
    server: Server, client: Client
) -> None:
    with client.stream(server, "/late_body/", method="POST", data=b"what was asked") as stream:
        assert data(list(stream)) == ["first", "what was asked"]


@wsgi
def test_a_client_that_sends_half_a_body_stops_nobody_else(server: Server, client: Client) -> None:
    half = b"POST /late_body/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx"
    with socket.create_connection((HOST, server.port)) as stalled:
        stalled.sendall(half)
        stream, _ = client.start(server, "/answer/?count=5&pause=0.05")
        with stream:
            assert data(list(stream)) == tokens(5)
