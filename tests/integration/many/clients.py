"""Many clients of one channel in a process of their own.

    python -m tests.integration.many.clients 127.0.0.1 8080 /channels/many/ 200 60

Prints "ready" when all have had `stream-open`. Then reads one line, the channel's last seq, and
when all clients have that event prints a `Report` as JSON; as it does when something was wrong, or
when 60 s after that line a client still lacks something.
"""

from __future__ import annotations

import heapq
import json
import selectors
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from tests.integration.many.reader import Reader
from tests.integration.many.tape import EVENT, Tape, WrongStream

_READ_BYTES = 1 << 18
# Nobody stays away longer, s: a proxy without servers asks for more patience than a test has.
_LONGEST_PAUSE = 1.0
# How often it looks at the clock when nothing arrives, s.
_TURN = 0.25


@dataclass
class Report:
    """What the clients saw. `error` is empty when every one had every event once and in order."""

    error: str = ""
    seconds_to_end: float = 0.0
    connections: int = 0
    farewells: int = 0
    refused: int = 0
    cpu_seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    upstreams: list[str] = field(default_factory=list)
    # Publisher and its count, from the first event to the last.
    events: list[tuple[str, int]] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """All but the events."""
        return {name: value for name, value in asdict(self).items() if name != "events"}


class Clients:
    """All of them, on one selector."""

    def __init__(self, address: tuple[str, int], path: str, count: int) -> None:
        self.tape = Tape()
        self.readers = [Reader(self.tape) for _ in range(count)]
        self.connections = self.refused = 0
        self._address = address
        self._request = f"GET {path} HTTP/1.0\r\nHost: {address[0]}\r\n".encode()
        self._request += b"Accept: text/event-stream\r\n"
        self._selector = selectors.DefaultSelector()
        # When each that is away comes back.
        self._away = [(0.0, number) for number in range(count)]

    def turn(self) -> None:
        """Connects who is due and reads what has come. Raises `WrongStream`."""
        now = time.monotonic()
        while self._away and self._away[0][0] <= now:
            self._connect(heapq.heappop(self._away)[1])
        until = max(0.0, self._away[0][0] - now) if self._away else _TURN
        for key, _ in self._selector.select(min(_TURN, until)):
            assert isinstance(key.fileobj, socket.socket)
            self._read(key.fileobj, key.data)

    def _connect(self, number: int) -> None:
        self.connections += 1
        try:
            connection = socket.create_connection(self._address, timeout=30)
            connection.sendall(self._request + self.readers[number].connect() + b"\r\n")
        except OSError:
            self.refused += 1
            self._leave(number)
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, number)

    def _leave(self, number: int) -> None:
        pause = min(self.readers[number].retry, _LONGEST_PAUSE)
        heapq.heappush(self._away, (time.monotonic() + pause, number))

    def _read(self, connection: socket.socket, number: int) -> None:
        data = b""
        with suppress(ConnectionResetError):
            data = connection.recv(_READ_BYTES)
        if not data:
            self._selector.unregister(connection)
            connection.close()
            self._leave(number)
            return
        try:
            self.readers[number].feed(data)
        except WrongStream as error:
            raise WrongStream(f"client {number} of {len(self.readers)}: {error}") from error

    def behind(self, last: int) -> list[int]:
        """The clients that lack event `last`."""
        end = self.tape.ends[last] if last <= self.tape.seq else sys.maxsize
        return [n for n, reader in enumerate(self.readers) if reader.position < end]

    def report(self) -> Report:
        statuses = [status for reader in self.readers for status in reader.statuses]
        return Report(
            connections=self.connections,
            farewells=sum(reader.farewells for reader in self.readers),
            refused=self.refused,
            cpu_seconds=time.process_time(),
            statuses={str(each): statuses.count(each) for each in sorted(set(statuses))},
            upstreams=sorted({up for reader in self.readers for up in reader.upstreams}),
            events=[(e[4].decode(), int(e[5])) for e in EVENT.finditer(self.tape.data)],
        )


class Input:
    """Lines of standard input, without waiting for them."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    def line(self) -> str | None:
        """A line, if one has come. Raises `EOFError` when nobody is there to write one."""
        if not self._selector.select(0):
            return None
        line = sys.stdin.readline()
        if not line:
            raise EOFError("the test is gone")
        return line


def run(clients: Clients, patience: float) -> Report:
    """Until all have everything; `patience` s after the last event was told to be the last."""
    lines = Input()
    while not all(reader.opened for reader in clients.readers):
        clients.turn()
        lines.line()
    print("ready", flush=True)
    while (line := lines.line()) is None:
        clients.turn()
    last, told = int(line), time.monotonic()
    while behind := clients.behind(last):
        if time.monotonic() - told > patience:
            where = {number: clients.readers[number].seq for number in behind[:10]}
            raise WrongStream(
                f"{len(behind)} clients lack event {last} after {patience} s; they have {where}"
            )
        clients.turn()
    report = clients.report()
    report.seconds_to_end = time.monotonic() - told
    return report


def main(host: str, port: str, path: str, count: str, patience: str) -> None:
    clients = Clients((host, int(port)), path, int(count))
    try:
        report = run(clients, float(patience))
    except WrongStream as error:
        report = clients.report()
        report.error = str(error)
    print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
