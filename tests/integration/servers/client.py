"""A client of one stream over a socket of its own, that reads what comes and leaves when told.

    with Stream(server, "/async_generator/") as stream:
        assert stream.next().data == "first"

It blocks; every wait has a time-out, so a stream that never sends fails its test.
"""

from __future__ import annotations

import http.client
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self, TypeAlias

from django_sse.wire import Decoder, MessageEvent
from tests.proxy import Proxy
from tests.servers import HOST, Server

TIMEOUT = 60.0
# Pairs where a header is sent more than once.
Headers: TypeAlias = "Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]"
# struct linger: on, 0 s. Closing then sends RST: the client crashed, or a router gave up on it.
RESET = struct.pack("ii", 1, 0)


class Stream:
    """One request and its response. ``body`` holds all bytes of it that were read so far.

    ``receive_buffer``: bytes that the client's kernel takes on its own (SO_RCVBUF), for clients
    that do not read. ``reset``: leaves with RST instead of FIN.
    """

    def __init__(
        self,
        server: Server | Proxy,
        path: str,
        *,
        method: str = "GET",
        headers: Headers = (),
        data: bytes = b"",
        receive_buffer: int | None = None,
        reset: bool = False,
    ) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(TIMEOUT)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.connect((HOST, server.port))
        self._connection = http.client.HTTPConnection(HOST, server.port)
        self._connection.sock = self.socket
        self._send(method, path, headers, data)
        self._response: http.client.HTTPResponse | None = None
        self._decoder = Decoder()
        self._events: deque[MessageEvent] = deque()
        self.body = b""
        self.ended = False

    def _send(self, method: str, path: str, headers: Headers, data: bytes) -> None:
        self._connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items() if isinstance(headers, Mapping) else headers:
            self._connection.putheader(name, value)
        if data or method == "POST":
            self._connection.putheader("Content-Length", str(len(data)))
        self._connection.endheaders(data or None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def response(self) -> http.client.HTTPResponse:
        """Waits for the headers."""
        if self._response is None:
            self._response = self._connection.getresponse()
        return self._response

    @property
    def status(self) -> int:
        return self.response.status

    def header(self, name: str) -> str | None:
        """The value of a header of the response; several are joined by a comma."""
        return self.response.getheader(name)

    @property
    def retry(self) -> int | None:
        """Milliseconds: the reconnection time that the stream told last."""
        return self._decoder.reconnection_time

    def read(self) -> bytes:
        """What comes next, at once; empty at the end of the body."""
        chunk = self.response.read1(1 << 16)
        if not chunk:
            self.ended = True
        self.body += chunk
        self._events.extend(self._decoder.feed(chunk))
        return chunk

    def next(self) -> MessageEvent:
        """The next event. Raises `EOFError` at the end."""
        while not self._events:
            if not self.read():
                raise EOFError(f"the stream ended after {self.body!r}")
        return self._events.popleft()

    def take(self, count: int) -> list[MessageEvent]:
        """The next ``count`` events."""
        return [self.next() for _ in range(count)]

    def __iter__(self) -> Iterator[MessageEvent]:
        """The events up to the end of the stream."""
        while True:
            try:
                yield self.next()
            except EOFError:
                return

    def read_until(self, reached: Callable[[bytes], bool]) -> bytes:
        """Reads until ``reached(body)``; returns the body so far. Raises `EOFError` at the end."""
        while not reached(self.body):
            if not self.read():
                raise EOFError(f"the stream ended after {self.body!r}")
        return self.body

    def close(self) -> None:
        """Leaves, whatever the server still has to say."""
        if self._response is not None:
            self._response.close()
        self._connection.close()
        self.socket.close()


def get(server: Server, path: str, **options: Any) -> tuple[int, bytes]:
    """Status and body of a response that ends."""
    with Stream(server, path, **options) as stream:
        while stream.read():
            pass
        return stream.status, stream.body
