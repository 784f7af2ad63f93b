"""A small server of another origin than the page's, for streams that no Django view should send."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests import ROOT

CASES: list[dict[str, Any]] = json.loads(
    (ROOT / "tests/integration/client/standard.json").read_text()
)
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "last-event-id, cache-control, pragma",
}
EVENT = 16 * 1024
MOST = 256 * 1024 * 1024
# Between two megabytes: over loopback a browser had them all before a script had its turn.
PAUSE = 0.02


def body_of(case: dict[str, Any]) -> bytes:
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    text: str = case["stream"]
    return text.replace("LONG", "x" * case.get("long", 0)).encode()


@dataclass
class Flood:
    """What the clients of `/flood` asked for and were sent, a connection each."""

    positions: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    ended: list[threading.Event] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def do_OPTIONS(self) -> None:
        self._head(204, {})

    def do_GET(self) -> None:
        _, kind, *rest = self.path.split("/")
        if kind == "case":
            case = CASES[int(rest[0])]
            body = body_of(case)
            self._head(200, {"Content-Type": case.get("contentType", "text/event-stream")})
            self.wfile.write(body)
        elif kind == "flood":
            self._flood(int(self.headers.get("Last-Event-ID", 0)))

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**CORS, **headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _flood(self, position: int) -> None:
        """Numbered events until the client leaves, or 256 MiB of them."""
        flood = self.server.flood
        index = len(flood.positions)
        flood.positions.append(position)
        flood.sent.append(0)
        flood.ended.append(threading.Event())
        self._head(200, {"Content-Type": "text/event-stream"})
        try:
            while flood.sent[index] < MOST:
                position += 1
                self.wfile.write(b"id: %d\ndata: %s\n\n" % (position, b"x" * EVENT))
                flood.sent[index] += EVENT
                if flood.sent[index] % (1 << 20) == 0:
                    time.sleep(PAUSE)
        except OSError:
            self.close_connection = True
        finally:
            flood.ended[index].set()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Scripted(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.flood = Flood()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no error."""


@contextmanager
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
