from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator

import pytest

from tests.integration.many.site import child
from tests.integration.servers.looking import eventually
from tests.servers import HOST

TOKENS = b"".join(b"data: seven %d\n\n" % number for number in range(3)) + b"data: [DONE]\n\n"


@pytest.fixture
def port() -> Iterator[int]:
    with child({}, "-m", "tests.integration.many.upstream") as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


def counts(port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://{HOST}:{port}/count", timeout=60) as answer:
        found: dict[str, int] = json.loads(answer.read())
    return found


def test_a_stream_is_open_until_the_other_side_closes_it(port: int) -> None:
    with socket.create_connection((HOST, port), timeout=60) as connection:
        connection.sendall(b"GET /?name=seven&count=3&rate=1000 HTTP/1.1\r\n\r\n")
        received = b""
        while not received.endswith(b"[DONE]\n\n"):
            received += connection.recv(1 << 16)
        assert received.partition(b"\r\n\r\n")[2] == TOKENS
        assert counts(port) == {"asked": 1, "open": 1, "sent": 3}
    eventually(lambda: not counts(port)["open"], lambda: counts(port))


def test_one_that_is_closed_on_the_way_is_not_sent_to_its_end(port: int) -> None:
    with socket.create_connection((HOST, port), timeout=60) as connection:
        connection.sendall(b"GET /?name=seven&count=1000000&rate=1000 HTTP/1.1\r\n\r\n")
        connection.recv(1 << 16)
    eventually(lambda: not counts(port)["open"], lambda: counts(port))
    assert counts(port)["sent"] < 1_000_000
