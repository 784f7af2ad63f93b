"""hypercorn.

Private names (0.18):

- ``HTTPStream.context.terminated.wait``, of the object whose method ``send`` is. Without it
  hypercorn waits for its streams, and cuts them off after ``--graceful-timeout``.
- ``HTTPStream.context.terminate.set``. Without it the workers that stop after the first one are
  cut off by SIGTERM.
- ``HTTPStream.send.__self__`` (the protocol), its ``send.__self__`` (the ``TCPServer``) and that
  one's ``writer.transport``. Without them a stalled client cannot be dropped.
- On HTTP/2 ``H2Protocol.stream_buffers`` with ``StreamBuffer.buffer`` and ``drain``,
  ``connection.reset_stream``, ``_window_updated``, ``_flush``. Without them the memory of the
  process grows with what clients do not read.
"""

from __future__ import annotations

import asyncio
import inspect
from contextvars import Context
from typing import TYPE_CHECKING, Any

from django_sse.servers.base import Connection, Server

if TYPE_CHECKING:
    from django_sse.servers.base import Receive, Send

# Bytes that may lie in hypercorn's buffer for one HTTP/2 stream.
_H2_BUFFER = 1 << 16
# RFC 9113, section 7: the stream is no longer needed.
_H2_CANCEL = 8


class HypercornServer(Server):
    """Its worker learns of the end from the main process, which sends SIGTERM to all workers when
    the first one has ended."""

    def __init__(self, context: Any) -> None:
        self.told = getattr(getattr(context, "terminated", None), "wait", None)
        self.stop = getattr(getattr(context, "terminate", None), "set", None)


class HypercornConnection(Connection):
    """On HTTP/2 its ``send`` does not wait for a client whose window is closed. Its sockets keep
    the kernel's patience: of a connection that the kernel gave up it logs a traceback."""

    aborts = True

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.server = HypercornServer(stream.context)
        self._protocol: Any = getattr(stream.send, "__self__", None)
        self._server = getattr(getattr(self._protocol, "send", None), "__self__", None)
        self._resetting: asyncio.Task[None] | None = None

    def _buffer(self) -> Any:
        """What waits to be sent on HTTP/2; None on HTTP/1."""
        return getattr(self._protocol, "stream_buffers", {}).get(self._stream.stream_id)

    @property
    def room(self) -> int:
        return super().room if self._full() is None else 0

    def _full(self) -> Any:
        buffer = self._buffer()
        return buffer if buffer is not None and len(buffer.buffer) >= _H2_BUFFER else None

    async def ready(self) -> None:
        while (buffer := self._full()) is not None:
            await buffer.drain()

    def abort(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._buffer() is not None and not transport.get_write_buffer_size():
            # The socket takes what it is given: only this stream's client does not.
            loop = asyncio.get_running_loop()
            self._resetting = loop.create_task(self._reset(), context=Context())
        else:
            transport.abort()

    async def _reset(self) -> None:
        """RST_STREAM; hypercorn's sending task then finds the stream closed and drops its data."""
        stream_id = self._stream.stream_id
        if stream_id in self._protocol.stream_buffers:
            self._protocol.connection.reset_stream(stream_id, _H2_CANCEL)
            await self._protocol._window_updated(stream_id)
            await self._protocol._flush()

    @property
    def _transport(self) -> Any:
        return getattr(getattr(self._server, "writer", None), "transport", None)


def connection(send: Send, receive: Receive | None) -> Connection | None:
    """Its connection, if ``send`` is known."""
    if not inspect.ismethod(send) or not hasattr(send.__self__, "context"):
        return None
    known = type(send.__self__).__module__ == "hypercorn.protocol.http_stream"
    return HypercornConnection(send.__self__) if known else None
