"""One client of the channel: an EventSource's duties, without its sockets.

A reader is fed the bytes of a response to an HTTP/1.0 request: headers, then the body as it is,
up to the end of the connection. (A proxy sends it no chunks then, which would have to be undone.)
"""

from __future__ import annotations

import re

from tests.integration.many.tape import Tape, WrongStream

# At frame boundaries only, any number of them.
_HEARTBEATS = re.compile(rb"(\A|\n\n)(?::\n)+")
_CONTROL = re.compile(rb"(?:\A|(?<=\n\n))(?:[^\n]+\n)*event: stream-(?:[^\n]+\n)+\n")
_FIELD = re.compile(rb"([a-z]+): ([^\n]*)\n")
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")
_UPSTREAM = re.compile(rb"\r\nX-Upstream: ([^\r]*)\r\n", re.IGNORECASE)


class Reader:
    """Where one client stands, over all its connections."""

    def __init__(self, tape: Tape) -> None:
        self.position = 0
        self.retry = 0.1
        self.opened = False
        self.farewells = 0
        self.upstreams: set[str] = set()
        self.statuses: list[int] = []
        self._tape = tape
        self._last_id = b""
        self._rest = b""
        self._in_body = False

    @property
    def seq(self) -> int:
        """The last event it has whole."""
        return self._tape.seq_at(self.position)

    def connect(self) -> bytes:
        """A new connection begins: the header lines to send along (Last-Event-ID, or none)."""
        self._rest, self._in_body = b"", False
        return b"Last-Event-ID: " + self._last_id + b"\r\n" if self._last_id else b""

    def feed(self, data: bytes) -> None:
        """Raises `WrongStream`."""
        data = self._rest + data
        if not self._in_body:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            self._read_head(head + b"\r\n")
        end = data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
        self._rest = data[end:]
        if end:
            self._take(data[:end])

    def _read_head(self, head: bytes) -> None:
        status = _STATUS.match(head)
        if status is None:
            raise WrongStream(f"not a response: {head!r}")
        self._in_body = True
        self.statuses.append(int(status[1]))
        if upstream := _UPSTREAM.search(head):
            # The servers that were tried, the one that answered last.
            self.upstreams.add(upstream[1].decode().rpartition(", ")[2])

    def _take(self, frames: bytes) -> None:
        if self.statuses[-1] != 200:
            return
        if frames.startswith(b":") or b"\n\n:" in frames:
            frames = _HEARTBEATS.sub(rb"\1", frames)
        place = 0
        if b"event: stream-" in frames:
            for control in _CONTROL.finditer(frames):
                self._compare(frames[place : control.start()])
                self._obey(control[0])
                place = control.end()
        self._compare(frames[place:])

    def _compare(self, frames: bytes) -> None:
        if frames:
            self._tape.compare(self.position, frames)
            self.position += len(frames)
            self._last_id = self._tape.ids[self.seq]

    def _obey(self, frame: bytes) -> None:
        fields = dict(_FIELD.findall(frame))
        if b"retry" in fields:
            self.retry = int(fields[b"retry"]) / 1000
        match fields[b"event"]:
            case b"stream-retry":
                self.farewells += 1
            case b"stream-open" if fields[b"id"] == (self._last_id or fields[b"id"]):
                self.opened = True
                self._last_id = fields[b"id"]
            case _:
                raise WrongStream(f"with {self._last_id!r} it was sent {frame!r}")
