"""What ASGI servers can do beyond the specification, and what they fail to do.

The specification says nothing of a client that reads too slowly or that vanished, nor of a server
that stops. Each server has its own way; all that is not public of theirs is asked for here and
nowhere else, and where it is not found the server is taken for one that keeps to the specification.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import sys
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any

from django_sse import conf

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

# Bytes that may lie in a server's buffer for one HTTP/2 stream.
_H2_BUFFER = 1 << 16
# What is asked of Twisted's H2Connection.
_TWISTED_H2 = ("_consumerBlocked", "remainingOutboundWindow", "streams")
# RFC 9113, section 7: the stream is no longer needed.
_H2_CANCEL = 8


class Outlet:
    """A connection of a server that keeps to the specification, and whose ``send`` waits for a
    client that reads too slowly."""

    pushes = False
    """Whether ``send`` comes back without suspending while the client takes what is sent, and
    ``receive`` may be cancelled and called again. Then no task is needed to send."""

    aborts = False
    """Whether ``abort`` drops the connection."""

    worker: Any = None
    """Who is asked whether the server stops, where no signal's handler leads there."""

    def begin(self) -> None:
        """A stream goes this way from now on."""
        settings = conf.current()
        # Later than the stream's own look for a stall, which drops the client more quietly.
        self._limit_silence(settings.SEND_TIMEOUT + settings.HEARTBEAT)

    @property
    def blocked(self) -> bool:
        """Whether ``ready`` has to be awaited before the next ``send``."""
        return False

    @property
    def room(self) -> int:
        """Bytes that one ``send`` may carry now."""
        return sys.maxsize

    def takes(self, size: int) -> bool:
        """Whether so many bytes may be sent at once."""
        return not self.blocked and size <= self.room

    async def ready(self) -> None:
        """Return when the client has room for more."""

    def release(self) -> None:
        """The body ends: take back what was put into the server."""
        self._limit_silence(0)

    def abort(self) -> None:
        """Drop the connection, or on HTTP/2 the stream, with what it still has to send."""

    def stopping(self) -> Callable[[], Awaitable[object]] | None:
        """What to await to learn that the server stops, where no signal tells."""
        return None

    def stop(self) -> Callable[[], Awaitable[object]] | None:
        """What to await to make a worker stop that ``stopping`` tells of."""
        return None

    def _socket(self) -> Any:
        """The connection's socket, where there is a way to it."""
        return None

    def _limit_silence(self, seconds: float) -> None:
        """How long the client's kernel may leave unacknowledged what was sent (RFC 5482); 0: as
        long as this kernel likes, 15 minutes. To an idle stream only heartbeats are sent, which
        this kernel's buffer takes for hours: no ``send`` would ever wait for them."""
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        connection = self._socket()
        # The client may have left meanwhile.
        if option is not None and connection is not None and connection.fileno() >= 0:
            with suppress(OSError):  # not a TCP socket
                connection.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))


class TransportOutlet(Outlet):
    """The way to the connection is an asyncio transport."""

    aborts = True

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self.worker = getattr(owner, "worker", None)

    @property
    def _transport(self) -> Any:
        return self._owner.transport

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _socket(self) -> Any:
        return None if self._transport is None else self._transport.get_extra_info("socket")


class UvicornOutlet(TransportOutlet):
    """uvicorn's ``send`` waits only above its high-water mark."""

    pushes = True

    def takes(self, size: int) -> bool:
        # Asked at every write of every client.
        return True


class GunicornOutlet(TransportOutlet):
    """gunicorn's ASGI worker on HTTP/1. It closes a connection whose application has given up only
    when all is sent, which for a client that reads nothing is never."""


class DaphneOutlet(Outlet):
    """daphne's ``send`` never waits: Twisted keeps what the client does not read. But it tells a
    push producer (``IPushProducer``) when to pause."""

    pushes = True
    aborts = True

    def __init__(self, request: Any) -> None:
        self._request = request
        self._paused = False
        self._resumed: asyncio.Future[None] | None = None

    def begin(self) -> None:
        # Not for each request: Twisted complains of one that ends with its producer.
        if self._request.channel is not None:
            self._request.registerProducer(self, True)
        super().begin()

    # Twisted's names.

    def pauseProducing(self) -> None:
        """Twisted holds more than it wants to."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client has read."""
        self._paused = False
        self._resume()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.resumeProducing()

    def _resume(self) -> None:
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    @property
    def blocked(self) -> bool:
        return self._paused

    async def ready(self) -> None:
        while self.blocked:
            self._resumed = asyncio.get_running_loop().create_future()
            await self._resumed

    def release(self) -> None:
        if self._request.channel is not None:
            self._request.unregisterProducer()
        super().release()

    def abort(self) -> None:
        if self._request.channel is not None:
            self._request.channel.transport.abortConnection()

    def _socket(self) -> Any:
        return _twisted_socket(getattr(self._request.channel, "transport", None))


class DaphneH2Outlet(DaphneOutlet):
    """HTTP/2 on daphne. Twisted tells a producer of the stream's window only, not of the socket;
    and as long as there is data and no window, its sending loop runs without a pause: no more is
    written than the window takes."""

    @property
    def _stream(self) -> Any:
        return self._request.channel

    @property
    def room(self) -> int:
        stream = self._stream
        if stream is None or stream.streamID not in stream._conn.streams:
            # Lost: whatever is sent now is dropped.
            return sys.maxsize
        window: int = stream._conn.remainingOutboundWindow(stream.streamID)
        return max(0, window)

    def _wait_for_socket(self) -> Any:
        """Twisted's ``Deferred`` while the socket takes nothing; else None."""
        return None if self._stream is None else self._stream._conn._consumerBlocked

    @property
    def blocked(self) -> bool:
        return self._paused or self._wait_for_socket() is not None or not self.room

    async def ready(self) -> None:
        while self.blocked:
            self._resumed = asyncio.get_running_loop().create_future()
            if (deferred := self._wait_for_socket()) is not None:
                deferred.addCallback(self._socket_took)
            else:
                # Where another stream has used up the connection's window Twisted has not said so.
                self._stream.flowControlBlocked()
            await self._resumed

    def _socket_took(self, result: object) -> object:
        self._resume()
        return result

    def release(self) -> None:
        # The connection, with its other streams, stays as it is.
        if self._request.channel is not None:
            self._request.unregisterProducer()

    def abort(self) -> None:
        if self._wait_for_socket() is not None:
            self._stream._conn.transport.abortConnection()
        elif self._stream is not None:
            self._stream.abortConnection()

    def _socket(self) -> Any:
        return _twisted_socket(getattr(getattr(self._stream, "_conn", None), "transport", None))


def _twisted_socket(transport: Any) -> Any:
    """The socket under a Twisted transport, through the layers of TLS."""
    while transport is not None:
        found = getattr(transport, "socket", None)
        if isinstance(found, socket.socket):
            return found
        transport = getattr(transport, "transport", None)
    return None


class HypercornOutlet(Outlet):
    """hypercorn's worker gets no signal; on HTTP/2 its ``send`` does not wait for a client whose
    window is closed. Its sockets keep the kernel's patience: of a connection that the kernel gave
    up it logs a traceback."""

    aborts = True

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._protocol: Any = getattr(stream.send, "__self__", None)
        self._server = getattr(getattr(self._protocol, "send", None), "__self__", None)
        self._resetting: asyncio.Task[None] | None = None

    def _buffer(self) -> Any:
        """What waits to be sent on HTTP/2; None on HTTP/1."""
        return getattr(self._protocol, "stream_buffers", {}).get(self._stream.stream_id)

    @property
    def blocked(self) -> bool:
        return self._full() is not None

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

    def stopping(self) -> Callable[[], Awaitable[object]] | None:
        return self._stream.context.terminated.wait  # type: ignore[no-any-return]

    def stop(self) -> Callable[[], Awaitable[object]] | None:
        return getattr(getattr(self._stream.context, "terminate", None), "set", None)


def outlet(send: Send, receive: Receive | None = None) -> Outlet:
    """The outlet of the server that ``send`` and ``receive`` belong to.

    One that a middleware put its own ``send`` before is like that of an unknown server.
    """
    if isinstance(send, functools.partial):
        return _daphne(send.args[0] if send.args else None)
    if inspect.ismethod(send):
        owner = send.__self__
        module = type(owner).__module__
        if module.startswith("uvicorn.protocols.http.") and hasattr(owner, "transport"):
            return UvicornOutlet(owner)
        if module == "hypercorn.protocol.http_stream" and hasattr(owner, "context"):
            return HypercornOutlet(owner)
    elif getattr(send, "__module__", None) == "gunicorn.asgi.protocol":
        protocol = getattr(getattr(receive, "__self__", None), "protocol", None)
        if hasattr(protocol, "transport"):
            return GunicornOutlet(protocol)
    return Outlet()


def _daphne(request: Any) -> Outlet:
    known = type(request).__module__.startswith("daphne.")
    if not (known and hasattr(request, "registerProducer") and hasattr(request, "channel")):
        return Outlet()
    connection = getattr(request.channel, "_conn", None)
    if all(hasattr(connection, name) for name in _TWISTED_H2):
        return DaphneH2Outlet(request)
    return DaphneOutlet(request)
