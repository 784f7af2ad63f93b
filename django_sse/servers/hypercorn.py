"""hypercorn.

Private names (0.18):

- ``HTTPStream.context.terminated.wait``, of the object whose method ``send`` is. Without it
  hypercorn waits for its streams, and cuts them off after ``--graceful-timeout``.
- ``HTTPStream.context.terminate.set``. Without it the workers that stop after the first one are
  cut off by SIGTERM.
- ``HTTPStream.send.__self__`` (the protocol), its ``send.__self__`` (the ``TCPServer``) and that
  one's ``writer.transport``. Without them a stalled client cannot be dropped.
- On HTTP/2 see ``hypercorn_h2``.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from django_sse.servers.base import Connection, Server

if TYPE_CHECKING:
    from django_sse.servers.base import Receive, Send


class HypercornServer(Server):
    """Its worker learns of the end from the main process, which sends SIGTERM to all workers when
    the first one has ended."""

    def __init__(self, context: Any) -> None:
        self.told = getattr(getattr(context, "terminated", None), "wait", None)
        self.stop = getattr(getattr(context, "terminate", None), "set", None)


class HypercornConnection(Connection):
    """A connection over HTTP/1."""

    drops = True

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.server = HypercornServer(stream.context)
        self._protocol: Any = getattr(stream.send, "__self__", None)
        self._server = getattr(getattr(self._protocol, "send", None), "__self__", None)

    @property
    def _transport(self) -> Any:
        return getattr(getattr(self._server, "writer", None), "transport", None)

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _socket(self) -> Any:
        return None if self._transport is None else self._transport.get_extra_info("socket")

    def _limit_silence(self, seconds: float) -> None:
        """Leave the kernel its patience: hypercorn logs a traceback of each connection that the
        kernel gave up."""


def connection(send: Send, receive: Receive | None) -> Connection | None:
    """Its connection, if ``send`` is known."""
    if not inspect.ismethod(send) or not hasattr(send.__self__, "context"):
        return None
    stream: Any = send.__self__
    if type(stream).__module__ != "hypercorn.protocol.http_stream":
        return None
    from django_sse.servers import hypercorn_h2

    return hypercorn_h2.connection(stream) or HypercornConnection(stream)
