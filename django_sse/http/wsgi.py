"""The body of a stream for a server without an event loop.

A thread of the server asks for one chunk after another and sends each with a call that blocks. The
chunks are made on the background loop, which also looks after the client: WSGI has no way to say
that a client has left, and a thread that is blocked cannot look.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from functools import cache
from typing import TYPE_CHECKING

from django_sse.process.background import get_background_loop
from django_sse.process.per_loop import PerLoop
from django_sse.process.request_thread import close_connections
from django_sse.process.supervision import supervise
from django_sse.servers import signals
from django_sse.streams.driver import Driver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from django_sse.servers.base import Connection
    from django_sse.streams.stream import Stream

logger = logging.getLogger("django_sse")

# Seconds between two looks at all clients.
_LOOK = 0.5
# Clients that one turn of the loop looks at; each costs some microseconds.
_LOOKS_A_TURN = 500


class SyncBody:
    """A body that is iterated on the background loop, a chunk whenever the server asks for one."""

    def __init__(self, body: AsyncIterator[bytes], stream: Stream, connection: Connection) -> None:
        self._body = body
        self._stream = stream
        self._connection = connection
        self._started = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._started:
            self._started = True
            self._begin()
        chunk = get_background_loop().submit(self._step()).result()
        if chunk is None:
            raise StopIteration
        return chunk

    async def _step(self) -> bytes | None:
        return await anext(self._body, None)

    def _begin(self) -> None:
        _warn_of(signals.current_server().unfit)
        close_connections()
        self._connection.begin()
        self._stream.driver = _Blocking(self._connection)
        loop = get_background_loop().loop
        loop.call_soon_threadsafe(signals.listen, loop)
        if self._connection.sees_leave:
            loop.call_soon_threadsafe(_watch, self._stream, self._connection)


@cache
def _warn_of(reason: str | None) -> None:
    """Log, once a process, why its server should not stream."""
    if reason is not None:
        logger.warning(reason)


class _Blocking(Driver):
    """Iterates in a thread of the server, which is blocked while a client does not read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.drops = connection.drops

    def acknowledges(self, seconds: float) -> bool:
        return self._connection.acknowledges(seconds)

    def stalled(self) -> None:
        self._connection.drop()


class _Watch:
    """Ends the streams of one loop whose clients have left, with one task for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open: dict[Stream, Connection] = {}
        self._looking: asyncio.Task[None] | None = None

    def add(self, stream: Stream, connection: Connection) -> None:
        """End ``stream`` when the client of ``connection`` has left."""
        self._open[stream] = connection
        if self._looking is None:
            # A fresh context: the caller's would keep its request alive.
            self._looking = self._loop.create_task(supervise(self._look), context=Context())

    async def _look(self) -> None:
        while self._open:
            await asyncio.sleep(_LOOK)
            for count, (stream, connection) in enumerate(list(self._open.items()), start=1):
                if connection.left():
                    stream.close()
                if stream.closed:
                    del self._open[stream]
                if count % _LOOKS_A_TURN == 0:
                    await asyncio.sleep(0)
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()


_watches = PerLoop(_Watch)


def _watch(stream: Stream, connection: Connection) -> None:
    _watches.get().add(stream, connection)
