"""A client of one stream over HTTP/2, whose windows and whose socket stay shut as long as it likes.

    with H2Stream(port, "/channels/a/", narrow=True) as stream:
        stream.next()       # so much fits into the window that HTTP/2 begins with
        stream.widen()      # only now the rest may come

It blocks; every wait has a time-out.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Iterable
from typing import Self

import h2.config
import h2.connection
import h2.events
import h2.settings

from django_sse.wire import Decoder, MessageEvent
from tests.servers import HOST

TIMEOUT = 60.0
# RFC 9113, 6.9.1: the largest window there is, and the one that each connection begins with.
WIDEST = 2**31 - 1
FIRST = 2**16 - 1


class H2Stream:
    """One request and its response. ``context``: TLS, with ALPN; without it prior knowledge.

    ``narrow``: keeps the windows that HTTP/2 begins with (64 KiB) and never moves them, until
    ``widen``; otherwise they are as wide as can be. ``receive_buffer``: SO_RCVBUF.
    """

    def __init__(
        self,
        port: int,
        path: str,
        *,
        context: ssl.SSLContext | None = None,
        narrow: bool = False,
        headers: Iterable[tuple[str, str]] = (),
        receive_buffer: int | None = None,
    ) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(TIMEOUT)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((HOST, port))
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname=HOST)
            assert self.socket.selected_alpn_protocol() == "h2"
        config = h2.config.H2Configuration(client_side=True, header_encoding="ascii")
        self._connection = h2.connection.H2Connection(config)
        self._decoder = Decoder()
        self._events: deque[MessageEvent] = deque()
        self.status: int | None = None
        self.reset: int | None = None
        self.ended = False
        self._begin(port, path, context is not None, narrow, headers)

    def _begin(
        self,
        port: int,
        path: str,
        secure: bool,
        narrow: bool,
        headers: Iterable[tuple[str, str]],
    ) -> None:
        window = FIRST if narrow else WIDEST
        code = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
        self._connection.local_settings = h2.settings.Settings(initial_values={code: window})
        self._connection.initiate_connection()
        if not narrow:
            self._connection.increment_flow_control_window(WIDEST - FIRST)
        self._id = self._connection.get_next_available_stream_id()
        pseudo = [
            (":method", "GET"),
            (":authority", f"{HOST}:{port}"),
            (":scheme", "https" if secure else "http"),
            (":path", path),
        ]
        self._connection.send_headers(self._id, [*pseudo, *headers], end_stream=True)
        self._flush()

    def _flush(self) -> None:
        if data := self._connection.data_to_send():
            self.socket.sendall(data)

    def widen(self) -> None:
        """From now on the server may send whatever it has."""
        for stream_id in (None, self._id):
            self._connection.increment_flow_control_window(2**30, stream_id)
        self._flush()

    def read(self) -> bool:
        """What comes next; False when the stream has ended, was reset, or the connection has."""
        if not self.ended:
            received = self.socket.recv(1 << 18)
            for event in self._connection.receive_data(received) if received else ():
                self._handle(event)
            if received:
                self._flush()
            else:
                self.ended = True
        return not self.ended

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            headers = {str(name): str(value) for name, value in event.headers or ()}
            self.status = int(headers[":status"])
        elif isinstance(event, h2.events.DataReceived):
            self._events.extend(self._decoder.feed(event.data or b""))
        elif isinstance(event, h2.events.StreamReset):
            self.reset = int(event.error_code or 0)
            self.ended = True
        elif isinstance(event, h2.events.StreamEnded | h2.events.ConnectionTerminated):
            self.ended = True

    def next(self) -> MessageEvent:
        """The next event. Raises `EOFError` at the end."""
        while not self._events:
            if not self.read() and not self._events:
                raise EOFError("the stream ended")
        return self._events.popleft()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
