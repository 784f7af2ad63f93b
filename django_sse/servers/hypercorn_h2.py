"""hypercorn over HTTP/2.

Private names (0.18): ``HTTPStream.stream_id``, and of ``HTTPStream.send.__self__`` (``H2Protocol``)
these:

- ``stream_buffers``, whose values (``StreamBuffer``) have ``buffer`` and ``drain``. Without them
  the memory of the process grows with what a client with a closed window does not read.
- ``connection.reset_stream``, ``_window_updated`` and ``_flush``. Without them a client that reads
  nothing of one stream loses all streams of its connection.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from django_sse.servers.hypercorn import HypercornConnection

if TYPE_CHECKING:
    from django_sse.servers.base import Connection

# Bytes that may lie in hypercorn's buffer for one stream.
_BUFFER = 1 << 16
# RFC 9113, section 7: the stream is no longer needed.
_CANCEL = 8
_RESETS = ("connection", "_window_updated", "_flush")


class HypercornH2Connection(HypercornConnection):
    """Its ``send`` does not wait for a client whose window is closed."""

    _resetting: asyncio.Task[None] | None = None

    def _full(self) -> Any:
        """The stream's buffer, if it has enough to send; None also after the stream's end."""
        buffer = self._protocol.stream_buffers.get(self._stream.stream_id)
        return buffer if buffer is not None and len(buffer.buffer) >= _BUFFER else None

    @property
    def room(self) -> int:
        return super().room if self._full() is None else 0

    async def ready(self) -> None:
        while (buffer := self._full()) is not None:
            await buffer.drain()

    def drop(self) -> None:
        transport = self._transport
        if (
            transport is not None
            and not transport.get_write_buffer_size()
            and all(hasattr(self._protocol, name) for name in _RESETS)
        ):
            # The socket takes what it is given: only this stream's client does not.
            loop = asyncio.get_running_loop()
            self._resetting = loop.create_task(self._reset(), context=Context())
        else:
            super().drop()

    async def _reset(self) -> None:
        """RST_STREAM; hypercorn's sending task then finds the stream closed and drops its data."""
        stream_id = self._stream.stream_id
        if stream_id in self._protocol.stream_buffers:
            self._protocol.connection.reset_stream(stream_id, _CANCEL)
            await self._protocol._window_updated(stream_id)
            await self._protocol._flush()


def connection(stream: Any) -> Connection | None:
    """The connection of hypercorn's ``stream``, if it came over HTTP/2."""
    protocol = getattr(stream.send, "__self__", None)
    return HypercornH2Connection(stream) if hasattr(protocol, "stream_buffers") else None
