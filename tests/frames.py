"""A server that answers every request with the frames that it was given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from django_sse.wire import encode
from django_sse.wire.event import Event


class _Server(ThreadingHTTPServer):
    body: bytes
    extra: Mapping[str, str]
    promised: int


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        for name, value in self.server.extra.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(self.server.promised))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest shows what an SDK made of it."""


@contextmanager
def serving(
    events: Iterable[Event], headers: Mapping[str, str], *, broken: bool = False
) -> Iterator[str]:
    """The address of a server that sends ``events`` and closes.

    ``broken``: without the end of the body, as a server that dies.
    """
    server = _Server(("127.0.0.1", 0), _Handler)
    server.body, server.extra = b"".join(map(encode, events)), headers
    server.promised = len(server.body) + broken
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
