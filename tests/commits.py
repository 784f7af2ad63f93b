"""A TCP proxy in front of a database that delays or drops COMMITs, as a stalled standby does.

The client of a chosen COMMIT loses its connection at once. The server gets the COMMIT later or
never, and keeps the transaction with all its locks until then.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.proxy import CHUNK, HOST, Proxy, close

# The COMMIT messages of psycopg and PyMySQL. Each is one chunk, since both wait for every answer.
COMMITS = frozenset({b"Q\x00\x00\x00\x0bCOMMIT\x00", b"\x07\x00\x00\x00\x03COMMIT"})


@dataclass(frozen=True, slots=True)
class Fate:
    """The fate of one COMMIT: after ``delay`` seconds the server gets it, or else a reset."""

    delay: float
    arrives: bool = True
    is_answered: bool = False
    """Whether the client keeps its connection, and waits for the answer."""

    @property
    def name(self) -> str:
        if self.is_answered:
            return "answered late"
        return "made late" if self.arrives else "lost"


class CommitProxy(Proxy):
    """``fate`` is asked about each COMMIT; None lets it pass."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.fate: Callable[[], Fate | None] = lambda: None
        self.fates: Counter[str] = Counter()

    async def _join(
        self, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]
    ) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(HOST, self.upstream, limit=CHUNK)
            writers.append(up_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump_commands(reader, writers[0], up_writer))
                pumps.create_task(self._pump(up_reader, writers[0], "bytes_down"))
        except* OSError:
            for each in writers:
                close(each, reset=True)

    async def _pump_commands(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        while chunk := await reader.read(CHUNK):
            if chunk in COMMITS and (fate := self.fate()) is not None:
                self.fates[fate.name] += 1
                if not fate.is_answered:
                    close(client, reset=True)
                await asyncio.sleep(fate.delay)
                if not fate.arrives:
                    close(server, reset=True)
                    return
            server.write(chunk)
            await server.drain()
        # The server has everything, and carries it out before it sees that the client is gone.
        server.write_eof()
