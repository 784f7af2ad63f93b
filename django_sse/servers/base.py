"""A server that keeps to the specification, and what others may do beyond it.

ASGI says nothing of a client that reads too slowly or has vanished, nor of a server that stops. A
server's own file subclasses what is here; where the names that it needs are missing, the server is
taken for one of this file.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django_sse import conf

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]


# Linux' struct tcp_info (linux/tcp.h) is 8 bytes and then 32-bit numbers: the 5th is the number of
# segments that are sent and not acknowledged, the 13th the milliseconds since an acknowledgement.
_TCP_INFO = struct.Struct("=24xI28xI")


class Server:
    """How a server stops; this one waits for its responses after a signal that it has handled."""

    waits = True
    """Whether the server waits for open responses once it is told to stop."""

    hears_in_loop = False
    """Whether its event loop hears of the signal, so that no handler can keep it waiting."""

    threads: int | None = None
    """Threads for requests, of which each stream takes one; None if that is not known, or if
    streams take none."""

    unfit: str | None = None
    """Why the server should not stream, and what to do; None if it may."""

    def stops(self) -> bool:
        """Whether the server has begun to stop without a signal; from any thread."""
        return False

    told: Callable[[], Awaitable[object]] | None = None
    """Returns when another process tells this worker to stop; None where a signal tells."""

    stop: Callable[[], Awaitable[object]] | None = None
    """Stops a worker that has ``told`` as if it had been told; None where nothing can."""


class Connection:
    """A client's connection; on this server ``send`` waits for a client that reads too slowly."""

    pushes = False
    """Whether ``send`` returns without suspending while the client takes what is sent, and
    ``receive`` may be cancelled and called again. Then no task is needed to send."""

    drops = False
    """Whether the server has a way to drop the connection."""

    server: Server | None = None
    """The server, where it is found by a connection and not by its signal handler."""

    def begin(self) -> None:
        """Note that a stream uses the connection from now on."""
        settings = conf.current().STREAMS
        # Later than the stream's own look for a stall, which drops the client more quietly.
        self._limit_silence(settings.SEND_TIMEOUT + settings.HEARTBEAT)

    @property
    def room(self) -> int:
        """Bytes that one ``send`` may carry now; with 0 await ``ready`` first."""
        return sys.maxsize

    async def ready(self) -> None:
        """Return when there is room."""

    def release(self) -> None:
        """Take back what was put into the server, because the body ends."""
        self._limit_silence(0)

    sees_leave = False
    """Whether ``left`` can tell. An ASGI server says by ``http.disconnect`` that a client has left;
    WSGI has nothing that says so."""

    def left(self) -> bool:
        """Whether the client has closed the connection, at least its own side of it."""
        return False

    def drop(self) -> None:
        """Drop the connection, or on HTTP/2 the stream, with what it still has to send."""

    def acknowledges(self, seconds: float) -> bool:
        """Whether the client's kernel has acknowledged something in the last ``seconds``.

        True if there was nothing to acknowledge, and where the socket cannot be asked.
        """
        option = getattr(socket, "TCP_INFO", None)  # Linux
        connection = self._socket()
        if option is None or connection is None or connection.fileno() < 0:
            return True
        with suppress(OSError):  # not a TCP socket
            told = connection.getsockopt(socket.IPPROTO_TCP, option, _TCP_INFO.size)
            if len(told) == _TCP_INFO.size:
                in_flight, silent = _TCP_INFO.unpack(told)
                return not in_flight or silent < seconds * 1000
        return True

    def _socket(self) -> Any:
        """The connection's socket, where it can be reached."""
        return None

    def _limit_silence(self, seconds: float) -> None:
        """Limit how long the client's kernel may leave sent bytes unacknowledged (RFC 5482).

        With 0 it is as long as this kernel likes, 15 minutes.

        An idle stream sends heartbeats only, which this kernel buffers for hours after the client
        has vanished: no ``send`` would ever wait for them.
        """
        option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
        connection = self._socket()
        # The client may have left meanwhile.
        if option is not None and connection is not None and connection.fileno() >= 0:
            with suppress(OSError):  # not a TCP socket
                connection.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))


class TransportConnection(Connection):
    """A connection whose asyncio transport is ``owner.transport``."""

    drops = True

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    @property
    def _transport(self) -> Any:
        return self._owner.transport

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _socket(self) -> Any:
        return None if self._transport is None else self._transport.get_extra_info("socket")
