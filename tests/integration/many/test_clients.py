"""The clients' process against a server of the test's own, which says what it likes."""

from __future__ import annotations

import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.integration.many.site import child, result
from tests.servers import HOST

OPEN = b"HTTP/1.1 200 OK\r\n\r\nid: e-0\nevent: stream-open\nretry: 10\ndata: {}\n\n"


def frame(seq: int) -> bytes:
    return f"id: e-{seq}\ndata: p {seq}\n\n".encode()


@pytest.fixture
def run() -> Iterator[Callable[..., dict]]:
    """The report of two clients, told that event 2 is the last, who are sent the response that is
    given for their Last-Event-ID; where none is, nothing."""
    with ExitStack() as stack:

        def report(responses: dict[bytes, bytes], patience: float = 60.0) -> dict:
            server = stack.enter_context(_Server(responses))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            args = (HOST, str(server.server_address[1]), "/any/", "2", str(patience))
            with child({}, "-m", "tests.integration.many.clients", *args) as process:
                return json.loads(result(process, "2\n"))

        yield report


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, responses: dict[bytes, bytes]) -> None:
        self.responses = responses
        self.ended = threading.Event()
        super().__init__((HOST, 0), _Handler)

    def shutdown(self) -> None:
        self.ended.set()
        super().shutdown()


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Server)
        # The request is small: it comes whole.
        position = re.search(rb"Last-Event-ID: (.*)\r\n", self.request.recv(1 << 16))
        response = self.server.responses.get(position[1] if position else b"")
        if response is None:
            self.server.ended.wait()
        else:
            self.request.sendall(response)


def test_clients_come_back_until_they_have_everything(run: Callable[..., dict]) -> None:
    report = run({b"": OPEN + frame(1), b"e-1": OPEN.replace(b"e-0", b"e-1") + frame(2)})
    assert report["error"] == ""
    assert report["connections"] >= 4
    assert report["statuses"] == {"200": 4}
    assert report["events"] == [["p", 1], ["p", 2]]


def test_an_event_twice_is_reported_with_the_client(run: Callable[..., dict]) -> None:
    report = run({b"": OPEN, b"e-0": OPEN + frame(1) + frame(1)})
    assert report["error"].startswith("client ")
    assert "after event 1" in report["error"]
    assert "id: e-1" in report["error"]


def test_an_event_that_never_comes_is_reported_with_where_the_clients_are(
    run: Callable[..., dict],
) -> None:
    report = run({b"": OPEN + frame(1)}, patience=1.0)
    assert report["error"].startswith("2 clients lack event 2 after 1.0 s")
    assert report["error"].endswith("they have {0: 1, 1: 1}")
