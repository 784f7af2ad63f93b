"""What is decided before the first item is a real HTTP answer; what comes after it is an event."""

from __future__ import annotations

import socket

import pytest

from tests.integration.servers.client import TIMEOUT, Headers, Stream, get
from tests.integration.servers.kinds import asgi, every_kind, wsgi
from tests.integration.servers.notes import Notes
from tests.servers import HOST, Server

CLOSE = b"id: !end\nevent: close\ndata: [DONE]\n\n"
# Bare heartbeats may stand between frames.
HEARTBEAT = b":\n"


def body_of(server: Server, path: str) -> bytes:
    """The frames of a stream that ends."""
    status, body = get(server, path)
    assert status == 200
    return b"".join(line for line in body.splitlines(keepends=True) if line != HEARTBEAT)


# -- before the first item


@every_kind
@pytest.mark.parametrize(
    ("query", "status"),
    [("fails/?error=404", 404), ("fails/?error=403", 403), ("fails_sync/?error=404", 404)],
)
def test_not_found_and_forbidden_stay_what_they_are(
    server: Server, query: str, status: int
) -> None:
    with Stream(server, f"/{query}") as stream:
        assert stream.status == status
        assert (stream.header("Content-Type") or "").startswith("text/html")


@every_kind
def test_a_redirect_stays_a_redirect(server: Server) -> None:
    with Stream(server, "/fails/?error=redirect") as stream:
        assert (stream.status, stream.header("Location")) == (302, "/ok/")


@every_kind
@pytest.mark.parametrize("query", ["fails/?error=other", "fails/?error=json", "fails_sync/?error="])
def test_an_error_is_a_500_that_tells_nothing(server: Server, query: str) -> None:
    status, body = get(server, f"/{query}")
    assert status == 500
    for secret in (b"secret", b"Traceback", b"RuntimeError", b"Serializable", b".py"):
        assert secret not in body
    assert get(server, "/ok/") == (200, b"ok")


# -- after it


@every_kind
@pytest.mark.parametrize("view", ["fails", "fails_sync"])
@pytest.mark.parametrize("error", ["other", "404"])
def test_an_error_is_an_event_that_tells_nothing(server: Server, view: str, error: str) -> None:
    assert body_of(server, f"/{view}/?error={error}&after=1") == (
        b"data: first\n\nid: !end\nevent: error\n"
        b'data: {"error":"The stream failed.","code":"error"}\n\n'
    )
    assert get(server, "/ok/") == (200, b"ok")


@every_kind
def test_a_stream_error_tells_what_it_says(server: Server) -> None:
    assert body_of(server, "/fails/?error=stream&after=1").endswith(
        b'event: error\ndata: {"error":"the printer is on fire","code":"error"}\n\n'
    )


# -- the end


@every_kind
@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/async_generator/?count=0", CLOSE),
        ("/sync_generator/?count=0", CLOSE),
        ("/bare_done/", b"data: only\n\nid: !end\ndata: [DONE]\n\n"),
        (
            "/custom_terminal/",
            b'data: only\n\nid: !end\nevent: finished\ndata: {"ok":true}\n\n',
        ),
        ("/no_terminal/", b"id: 1\ndata: only\n\n"),
    ],
)
def test_the_end_is_what_the_view_says(server: Server, path: str, end: bytes) -> None:
    assert body_of(server, path) == end


@every_kind
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_whoever_brings_the_end_back_gets_204_and_runs_nothing(
    server: Server, notes: Notes, name: str, method: str
) -> None:
    path = f"/streams/position/?name={name}"
    with Stream(server, path, method=method) as stream:
        first, end = stream
        assert first.data == f'{{"position":null,"method":"{method}"}}'
    notes.wait_for(f"{name} ran")
    headers = {"Last-Event-ID": end.last_event_id}
    for again, sent in (
        (path, headers),
        (f"{path}&last_event_id={end.last_event_id}", {}),
        (f"{path}&lastEventId={end.last_event_id}", {}),
    ):
        with Stream(server, again, method=method, headers=sent) as stream:
            assert stream.status == 204
            assert stream.header("Cache-Control") == "no-store"
            assert stream.read() == b""
    # It still runs for others, and has run for nobody else.
    get(server, path, method=method)
    notes.wait_for(f"{name} ran", times=2)
    assert notes.count(f"{name} ran") == 2


# -- headers

COMMON = {
    "content-type": ["text/event-stream; charset=utf-8"],
    "cache-control": ["no-cache, no-transform"],
    "x-accel-buffering": ["no"],
    "content-encoding": ["identity"],
}
# What servers and Django's stock middleware add.
OTHERS = {
    "cross-origin-opener-policy",
    "date",
    "referrer-policy",
    "server",
    "transfer-encoding",
    "x-content-type-options",
}


def headers_of(stream: Stream) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in stream.response.getheaders():
        headers.setdefault(name.lower(), []).append(value)
    return headers


@asgi
@pytest.mark.parametrize("path", ["/async_generator/", "/sync_generator/", "/channels/a/"])
def test_the_headers_under_asgi(server: Server, path: str) -> None:
    with Stream(server, path) as stream:
        headers = headers_of(stream)
    expected = COMMON | {"connection": ["keep-alive"]}
    assert {name: headers.get(name) for name in expected} == expected
    assert headers.keys() - expected.keys() <= OTHERS


@wsgi
@pytest.mark.parametrize("path", ["/async_generator/", "/sync_generator/", "/channels/a/"])
def test_the_headers_under_wsgi(server: Server, path: str) -> None:
    with Stream(server, path) as stream:
        headers = headers_of(stream)
    assert {name: headers.get(name) for name in COMMON} == COMMON
    # A hop-by-hop header is the server's own there.
    assert headers.keys() - COMMON.keys() <= {*OTHERS, "connection"}


@every_kind
def test_a_client_of_http_1_0_gets_the_stream_and_then_the_end_of_the_connection(
    server: Server,
) -> None:
    head, _, body = raw(server, b"GET /async_generator/?count=1 HTTP/1.0\r\nHost: x\r\n\r\n")
    assert head.split(b"\r\n")[0].split()[1] == b"200"
    assert b"keep-alive" not in head.lower()
    assert b"data: " in body and body.replace(b"\r\n0\r\n\r\n", b"").endswith(CLOSE)


def raw(server: Server, request: bytes) -> tuple[bytes, bytes, bytes]:
    """All that comes on a connection of its own until the server closes it."""
    received = b""
    with socket.create_connection((HOST, server.port), timeout=TIMEOUT) as connection:
        connection.sendall(request)
        while chunk := connection.recv(1 << 16):
            received += chunk
    return received.partition(b"\r\n\r\n")


# -- the position that a client brings


def position_in(server: Server, path: str, header: str | bytes | None = None) -> str:
    headers: Headers = {} if header is None else {"Last-Event-ID": header}
    with Stream(server, path, headers=headers) as stream:
        assert stream.status == 200
        return stream.next().data


@every_kind
@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"abc-1", "abc-1"),
        ("gr\xf6\xdfe".encode(), "gr\xf6\xdfe"),
        ("gr\xf6\xdfe".encode("latin-1"), "gr\xf6\xdfe"),
        (b"a b\tc", "a b\\tc"),
        (b"x" * 1280, "x" * 1280),
    ],
    ids=["ascii", "utf-8", "latin-1", "spaces", "longest"],
)
def test_the_header_reaches_the_view_as_it_was_sent(server: Server, sent: bytes, read: str) -> None:
    data = position_in(server, "/streams/position/", header=sent)
    assert data == f'{{"position":"{read}","method":"GET"}}'


@every_kind
def test_the_header_goes_before_the_query(server: Server) -> None:
    path = "/streams/position/?last_event_id=query&lastEventId=other"
    assert '"header"' in position_in(server, path, header="header")
    assert '"query"' in position_in(server, path)
    assert '"query"' in position_in(server, path, header="")
    assert '"other"' in position_in(server, "/streams/position/?lastEventId=other")


@every_kind
@pytest.mark.parametrize("query", ["", "?last_event_id=" + "x" * 1281], ids=["header", "query"])
@pytest.mark.parametrize("path", ["/streams/position/", "/channels/a/", "/channels_sync/a/"])
def test_an_over_long_position_is_a_bad_request(server: Server, path: str, query: str) -> None:
    headers = {} if query else {"Last-Event-ID": "x" * 1281}
    status, body = get(server, path + query, headers=headers)
    assert (status, body) == (400, b"Last-Event-ID must not be longer than 1280 characters.")
