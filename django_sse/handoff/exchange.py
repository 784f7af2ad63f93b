"""One request between the server and Django, and the stream that Django leaves behind."""

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
    """The messages between the server and Django while Django answers one request."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._connection = connection(send, receive)
        self._complete = False
        self._gone = False
        self._dropped = False
        self._watch: asyncio.Task[None] | None = None
        self.stream: Stream | None = None
        # Before any stream begins: a server that is told to stop while its first stream is being
        # opened would wait for it. Also for a stream that Django will iterate itself.
        signals.watch(self._connection.server)

    def take(self, stream: Stream) -> None:
        """Take ``stream`` over; called when Django begins to iterate it, after the headers.

        A server that gives up cancels Django's handler. The view's own task does not hear of that:
        it opens its stream, and hands it over when nobody is there any more.
        """
        if self._dropped:
            stream.close()
        else:
            self.stream = stream

    def drop(self) -> None:
        """Give up: there is no stream, or no client to send it to."""
        self._dropped = True
        if self.stream is not None:
            self.stream.close()
        if self._watch is not None:
            # With some servers it would wait for as long as the connection lives.
            self._watch.cancel()

    async def send(self, message: Message) -> None:
        """Pass on what Django sends, but not the end of a body that goes on without it."""
        if self.stream is None or message["type"] != "http.response.body":
            await self._send(message)

    async def receive(self) -> Message:
        """Return the request's body, and after that the client's leave.

        Django cancels that call when it has answered. Some servers take the cancellation for the
        client's leave, and say so to the next call. Their ``receive`` is called in a task, which
        the stream takes over.
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
        """Return what sends the stream, if one was taken and its client is still there."""
        if self.stream is None or self._gone:
            self.drop()
            return None
        self._connection.begin()
        if self._connection.pushes:
            return PushedDelivery(self.stream, self._receive, self._send, self._connection)
        return PulledDelivery(self.stream, self._watching(), self._send, self._connection)
