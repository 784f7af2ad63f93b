"""An event stream server that does what its test says: each client gets the bytes of a script."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urlsplit

from benchmarks.peers.control import make_data

Script = Callable[[int], list[bytes]]
"""From the first number published to the pieces that each client is sent, each in a write."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def frame(seq: int) -> bytes:
    return f"data: {make_data(seq, 100)}\n\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class ScriptedServer:
    def __init__(self, script: Script, head: bytes = HEAD) -> None:
        self._script, self._head = script, head
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._streams: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        # Load generators are killed, with what was sent to them unread.
        with suppress(ConnectionError), connection, connection.makefile("rb") as lines:
            while request := lines.readline():
                while lines.readline().strip():
                    pass
                method, target, _ = request.decode().split()
                if method == "GET":
                    # First: whoever has the head may publish.
                    self._streams.append(connection)
                    connection.sendall(self._head)
                else:
                    self._publish(target)
                    connection.sendall(DONE)

    def _publish(self, target: str) -> None:
        asked = parse_qs(urlsplit(target).query)
        for piece in self._script(int(asked["seq"][0])):
            for stream in self._streams:
                # Some scripts end the stream, and go on.
                with suppress(OSError):
                    stream.sendall(piece)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        # The clients are gone by now: that ends their threads.
        for thread in self._threads:
            thread.join()


@contextmanager
def serving(script: Script, head: bytes = HEAD) -> Iterator[ScriptedServer]:
    server = ScriptedServer(script, head)
    try:
        yield server
    finally:
        server.close()
