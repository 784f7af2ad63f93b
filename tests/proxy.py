"""A TCP proxy between a client and a server, for what a network does to a stream.

    with Proxy(server.port) as proxy:
        browser.goto(f"{proxy.url}/chat/lobby/")
        proxy.refuse()      # nobody gets in any more
        proxy.cut()         # and those who are in are thrown out
        proxy.restore()     # all is well again

It runs on a loop and a thread of its own and every call is done when it returns, so it serves plain
tests, async tests and Playwright alike. (A browser's own "offline" switch does not cut a stream.)
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

HOST = "127.0.0.1"
CHUNK = 64 * 1024
CALL_TIMEOUT = 30.0
# struct linger: on, 0 s. Closing then sends RST and drops what is still on its way.
RESET = struct.pack("ii", 1, 0)

T = TypeVar("T")


@dataclass(slots=True)
class Counters:
    """What went through since the proxy was made. Bytes count when they are handed on."""

    accepted: int = 0
    open: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


class Proxy:
    """Passes bytes between its own port and `port` on loopback, until told otherwise."""

    def __init__(self, port: int) -> None:
        self.upstream = port
        self._counters = Counters()
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._server: asyncio.Server | None = None
        # Bound and never listening: keeps the port ours while new connections are refused.
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind((HOST, 0))
        self.port: int = self._reservation.getsockname()[1]

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *error: object) -> None:
        self._call(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_TIMEOUT)
        self._loop.close()
        self._reservation.close()

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def counters(self) -> Counters:
        """A copy, as it is now."""
        with self._changed:
            now = self._counters
            return Counters(now.accepted, now.open, now.bytes_up, now.bytes_down)

    def wait_for(self, reached: Callable[[Counters], bool], timeout: float = CALL_TIMEOUT) -> None:
        """Blocks until `reached(counters)` is true. Raises `TimeoutError` after `timeout` s."""
        with self._changed:
            if not self._changed.wait_for(lambda: reached(self._counters), timeout):
                raise TimeoutError(f"not reached in {timeout} s: {self._counters}")

    def cut(self, *, reset: bool = True) -> int:
        """Ends every open connection on both sides; returns how many there were.

        `reset`: with RST, as a crash or a dropped route does; else with FIN, as an orderly close.
        """
        return self._call(self._cut(reset))

    def refuse(self) -> None:
        """New connections get "connection refused"; those that are open go on."""
        self._call(self._stop_listening())

    def stall(self) -> None:
        """Nothing passes any more in either direction, and nobody is told: a network gone silent.

        New connections are still accepted, and hang. What the proxy holds is bounded, so a sender
        soon finds the way blocked.
        """
        self._call(self._set_flowing(False))

    def restore(self) -> None:
        """Undoes `refuse` and `stall`: what was held back is passed on."""
        self._call(self._set_flowing(True))
        self._call(self._listen())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_TIMEOUT)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, HOST, self.port, limit=CHUNK)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            # Not wait_closed(): it waits for the open connections too.
            self._server.close()
            self._server = None

    async def _set_flowing(self, flowing: bool) -> None:
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _cut(self, reset: bool) -> int:
        links = dict(self._links)
        for task, writers in links.items():
            for writer in writers:
                close(writer, reset)
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        return len(links)

    async def _shut_down(self) -> None:
        await self._stop_listening()
        await self._cut(reset=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        writers = self._links[task] = [writer]
        self._count(accepted=1, open=1)
        try:
            await self._join(reader, writers)
        except asyncio.CancelledError:
            # Only cut() cancels; it has closed both sides and awaits this very end.
            pass
        finally:
            for each in writers:
                each.close()
            del self._links[task]
            self._count(open=-1)

    async def _join(
        self, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]
    ) -> None:
        try:
            await self._flowing.wait()
            up_reader, up_writer = await asyncio.open_connection(HOST, self.upstream, limit=CHUNK)
            writers.append(up_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, up_writer, "bytes_up"))
                pumps.create_task(self._pump(up_reader, writers[0], "bytes_down"))
        except* OSError:
            # One side is gone without a farewell: the other one is to see the same.
            for each in writers:
                close(each, reset=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str
    ) -> None:
        while chunk := await reader.read(CHUNK):
            await self._flowing.wait()
            # Before the write: who has received a byte finds it counted.
            self._count(**{name: len(chunk)})
            writer.write(chunk)
            await writer.drain()
        # Half-closed: an answer may still come the other way.
        await self._flowing.wait()
        with suppress(OSError):
            writer.write_eof()

    def _count(self, **changes: int) -> None:
        with self._changed:
            for name, change in changes.items():
                setattr(self._counters, name, getattr(self._counters, name) + change)
            self._changed.notify_all()


def close(writer: asyncio.StreamWriter, reset: bool) -> None:
    if reset:
        with suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
    else:
        writer.close()
