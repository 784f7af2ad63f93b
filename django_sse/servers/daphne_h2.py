"""daphne over HTTP/2.

Private names (Twisted 26.10), all of ``H2Stream`` and ``H2Connection`` in ``twisted.web._http2``:

- ``H2Stream._conn`` and ``streamID``, ``H2Connection.streams``, ``remainingOutboundWindow`` and
  ``_consumerBlocked``, ``H2Stream.flowControlBlocked``. Without them the connection is taken for
  one over HTTP/1, and a client that closes its window makes Twisted's sending loop run without a
  pause.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django_sse.servers.daphne import DaphneConnection, twisted_socket

if TYPE_CHECKING:
    from django_sse.servers.base import Connection

_NAMES = ("_consumerBlocked", "remainingOutboundWindow", "streams")


class DaphneH2Connection(DaphneConnection):
    """Twisted tells a producer of the stream's window only, not of the socket. As long as there is
    data and no window, its sending loop runs without a pause, so no more is written than the
    window takes."""

    @property
    def _stream(self) -> Any:
        return self._request.channel

    @property
    def room(self) -> int:
        if self._paused or self._blocked_socket() is not None:
            return 0
        stream = self._stream
        if stream is None or stream.streamID not in stream._conn.streams:
            # Lost: whatever is sent now is dropped.
            return sys.maxsize
        window: int = stream._conn.remainingOutboundWindow(stream.streamID)
        return max(0, window)

    def _blocked_socket(self) -> Any:
        """Twisted's ``Deferred`` while the socket takes nothing; else None."""
        return None if self._stream is None else self._stream._conn._consumerBlocked

    def _ask(self) -> None:
        if (deferred := self._blocked_socket()) is not None:
            deferred.addCallback(self._socket_took)
        else:
            # Where another stream has used up the connection's window Twisted has not said so.
            self._stream.flowControlBlocked()

    def _socket_took(self, result: object) -> object:
        self._resume()
        return result

    def release(self) -> None:
        # The connection, with its other streams, stays as it is.
        if self._request.channel is not None:
            self._request.unregisterProducer()

    def drop(self) -> None:
        if self._blocked_socket() is not None:
            self._stream._conn.transport.abortConnection()
        elif self._stream is not None:
            self._stream.abortConnection()

    def _socket(self) -> Any:
        return twisted_socket(getattr(getattr(self._stream, "_conn", None), "transport", None))


def connection(request: Any) -> Connection | None:
    """The connection of daphne's ``request``, if it came over HTTP/2."""
    over = getattr(request.channel, "_conn", None)
    return DaphneH2Connection(request) if all(hasattr(over, name) for name in _NAMES) else None
