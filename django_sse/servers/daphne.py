"""daphne, with Twisted below it.

Private names (daphne 4.2, Twisted 26.10):

- ``send.args[0]``: ``send`` is a ``functools.partial`` that has the ``WebRequest``. Without it,
  and without its ``channel`` and ``registerProducer``, the memory of the process grows with what
  clients do not read, and a stalled client cannot be dropped.
- ``WebRequest.content``. Without it a request with a large body keeps a temporary file for as long
  as its stream lasts.
- ``channel.transport.socket``, below TLS ``transport.transport``. Without it a client that has
  vanished from the network is noticed when the kernel gives up, after 15 minutes.
- Twisted's signal handlers are functions of ``twisted.*``. Without that name the last frames of
  streams are lost when daphne stops.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from typing import TYPE_CHECKING, Any

from django_sse.servers.base import Connection, Server

if TYPE_CHECKING:
    from django_sse.servers.base import Receive, Send


class DaphneServer(Server):
    """It stops with Twisted's reactor, whatever its responses still have to send."""

    waits = False


class DaphneConnection(Connection):
    """Its ``send`` never waits: Twisted keeps what the client does not read. But Twisted tells a
    push producer (``IPushProducer``) when to pause."""

    pushes = True
    drops = True

    def __init__(self, request: Any) -> None:
        self._request = request
        self._paused = False
        self._resumed: asyncio.Future[None] | None = None

    def begin(self) -> None:
        # Not for each request: Twisted complains of one that ends with its producer.
        if self._request.channel is not None:
            self._request.registerProducer(self, True)
        # The body, which Django has read: above 100 KB a file, and so a descriptor.
        if (content := getattr(self._request, "content", None)) is not None:
            content.close()
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
    def room(self) -> int:
        return 0 if self._paused else super().room

    async def ready(self) -> None:
        while not self.room:
            self._resumed = asyncio.get_running_loop().create_future()
            self._ask()
            await self._resumed

    def _ask(self) -> None:
        """Have ``_resume`` called when there may be room; Twisted does so by itself."""

    def release(self) -> None:
        if self._request.channel is not None:
            self._request.unregisterProducer()
        super().release()

    def drop(self) -> None:
        if self._request.channel is not None:
            self._request.channel.transport.abortConnection()

    def _socket(self) -> Any:
        return twisted_socket(getattr(self._request.channel, "transport", None))


def twisted_socket(transport: Any) -> Any:
    """The socket below a Twisted transport and the layers of its TLS."""
    while transport is not None:
        found = getattr(transport, "socket", None)
        if isinstance(found, socket.socket):
            return found
        transport = getattr(transport, "transport", None)
    return None


def connection(send: Send, receive: Receive | None) -> Connection | None:
    """Its connection, if ``send`` is known."""
    if not isinstance(send, functools.partial) or not send.args:
        return None
    request = send.args[0]
    known = type(request).__module__.startswith("daphne.")
    if not (known and hasattr(request, "registerProducer") and hasattr(request, "channel")):
        return None
    from django_sse.servers import daphne_h2

    return daphne_h2.connection(request) or DaphneConnection(request)
