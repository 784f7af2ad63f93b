"""One request between the server and Django, and what becomes of its stream."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from django_sse.handoff.deliveries import PulledDelivery, PushedDelivery
from django_sse.servers import signals
from django_sse.servers.detect import connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from django_sse.handoff.deliveries import Delivery
    from django_sse.streams.stream import Stream

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Coroutine[Any, Any, None]]


class Exchange:
    """What Django sees of the server while it answers one request."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._connection = connection(send, receive)
        self._complete = False
        self._gone = False
        self._watch: asyncio.Task[None] | None = None
        self.stream: Stream | None = None
        # Before any stream begins: a server that is told to stop while its first one is being
        # opened would wait for it.
        # With the server, though a stream may stay in Django's hands.
        signals.watch(self._connection.server)

    def take(self, stream: Stream) -> None:
        """Called in the place of the body's iteration: its headers are out."""
        self.stream = stream

    def drop(self) -> None:
        """Django is done, and there is no stream, or nobody to send it."""
        if self.stream is not None:
            self.stream.close()
        if self._watch is not None:
            # A server may keep it waiting for as long as the connection lives.
            self._watch.cancel()

    async def send(self, message: Message) -> None:
        """Django's end of the body is not the stream's."""
        if self.stream is None or message["type"] != "http.response.body":
            await self._send(message)

    async def receive(self) -> Message:
        """The request's body, and after it whether the client has left.

        Django cancels that wait when it is done. There are servers that take the cancellation for
        the client's leave and answer the next call so: their ``receive`` is called in a task,
        which is still there for the stream.
        """
        if self._complete and not self._connection.pushes:
            await asyncio.shield(self._watching())
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._note(message)
        return message

    def _note(self, message: Message) -> None:
        self._gone = self._gone or message["type"] == "http.disconnect"
        self._complete = not message.get("more_body")

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _watching(self) -> asyncio.Task[None]:
        if self._watch is None:
            loop = asyncio.get_running_loop()
            self._watch = loop.create_task(self._disconnected(), context=Context())
        return self._watch

    def delivery(self) -> Delivery | None:
        """How to send the stream that was taken, if one was and its client is still there."""
        if self.stream is None or self._gone:
            self.drop()
            return None
        self._connection.begin()
        if self._connection.pushes:
            return PushedDelivery(self.stream, self._receive, self._send, self._connection)
        return PulledDelivery(self.stream, self._watching(), self._send, self._connection)
