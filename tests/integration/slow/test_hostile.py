"""Requests that are meant to hurt get a clear answer, or none; the others are served on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests import FULL
from tests.integration.servers.client import TIMEOUT, Stream, get
from tests.requirements import require
from tests.servers import HOST, KINDS, Server

SERVERS: tuple[str, ...] = ("daphne", "uvicorn", "granian", "hypercorn", "gunicorn-gthread")
if FULL:
    SERVERS += ("uvicorn-asyncio", "gunicorn-asgi", "runserver-daphne", "runserver-wsgi")
MANY = 10_000
CURSOR = "abcdefghijk-1-tagtag"


@pytest.fixture(params=SERVERS, scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    require(*KINDS[request.param].needs)
    with Server(request.param) as running:
        yield running


@pytest.fixture(autouse=True)
def _lives_on_in_silence(server: Server) -> Iterator[None]:
    yield
    with Stream(server, "/channels/after/") as stream:
        assert stream.next().type == "stream-open"
    assert "Traceback" not in server.output()


def raw(server: Server, request: bytes) -> bytes:
    """The answer to ``request`` up to the end, or what came of it; empty: thrown out unheard."""
    with closing(socket.create_connection((HOST, server.port), timeout=TIMEOUT)) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while chunk := connection.recv(1 << 16):
                answer += chunk
                if b"\r\n\r\n" in answer:
                    break
        except (ConnectionResetError, BrokenPipeError):
            # It hung up on what it did not want to read; the answer may be lost with it.
            pass
        return answer


def status(answer: bytes) -> int | None:
    """None: the connection was closed without a word."""
    return int(answer.split(b" ", 2)[1]) if answer else None


def ask(path: str, *headers: str | bytes) -> bytes:
    lines: list[str | bytes] = [f"GET {path} HTTP/1.1", f"Host: {HOST}", *headers, "", ""]
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode("ascii") for line in lines)


# 431 is what RFC 6585 has for it; 414 for the line before them; None where a server hangs up.
REFUSED = (400, 413, 414, 431, None)


@pytest.mark.parametrize(
    "headers",
    [
        [f"X-Long: {'x' * 65_536}"],
        [f"X-Many-{number}: {'x' * 50}" for number in range(1_000)],
        [f"Last-Event-ID: {'x' * 65_536}"],
        [f"Cookie: {'x' * 65_536}"],
    ],
    ids=["one", "many", "position", "cookie"],
)
def test_64_kb_of_headers(server: Server, headers: list[str]) -> None:
    found = status(raw(server, ask("/channels/a/", *headers)))
    # A server that lets them pass streams, unless they are our business.
    allowed = REFUSED if headers[0].startswith("Last-Event-ID") else (200, *REFUSED)
    assert found in allowed


@pytest.mark.parametrize("separator", [".", ",", ", "])
def test_10_000_ids_in_one_header(server: Server, separator: str) -> None:
    ids = separator.join([CURSOR] * MANY)
    assert status(raw(server, ask("/channels/a/", f"Last-Event-ID: {ids}"))) in REFUSED


def test_10_000_headers_with_an_id(server: Server) -> None:
    headers = [f"Last-Event-ID: {CURSOR}"] * MANY
    assert status(raw(server, ask("/channels/a/", *headers))) in REFUSED


def test_as_many_ids_as_a_server_lets_pass(server: Server) -> None:
    # 4 KB: below every server's limit, above ours.
    ids = ".".join([CURSOR] * 190)
    assert status(raw(server, ask("/channels/a/", f"Last-Event-ID: {ids}"))) == 400


@pytest.mark.parametrize("name", ["last_event_id", "lastEventId"])
def test_10_000_query_parameters(server: Server, name: str) -> None:
    query = "&".join([f"{name}={CURSOR}"] * MANY)
    assert status(raw(server, ask(f"/channels/a/?{query}"))) in REFUSED


@pytest.mark.parametrize("name", ["last_event_id", "lastEventId"])
def test_as_many_query_parameters_as_a_server_lets_pass(server: Server, name: str) -> None:
    query = "&".join([f"{name}={CURSOR}"] * 100)
    assert status(raw(server, ask(f"/channels/a/?{query}"))) in (200, 400)


def test_8_kb_of_non_ascii(server: Server) -> None:
    # Below granian's and gunicorn's limits for one line.
    position = "ä".encode() * 4_000
    found = status(raw(server, ask("/channels/a/", b"Last-Event-ID: " + position)))
    assert found in REFUSED


def test_a_request_body_that_never_comes(server: Server) -> None:
    head = f"POST /slow/reads_body/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000\r\n\r\n"
    with ExitStack() as crowd:
        for _ in range(10):
            connection = socket.create_connection((HOST, server.port), timeout=TIMEOUT)
            crowd.enter_context(closing(connection))
            connection.sendall(head.encode() + b"x" * 10)
        assert get(server, "/ok/") == (200, b"ok")
        with Stream(server, "/channels/a/") as stream:
            assert stream.next().type == "stream-open"


def test_headers_that_never_end(server: Server) -> None:
    with ExitStack() as crowd:
        for _ in range(10):
            connection = socket.create_connection((HOST, server.port), timeout=TIMEOUT)
            crowd.enter_context(closing(connection))
            connection.sendall(f"GET /channels/a/ HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: ".encode())
        assert get(server, "/ok/") == (200, b"ok")
        with Stream(server, "/channels/a/") as stream:
            assert stream.next().type == "stream-open"
