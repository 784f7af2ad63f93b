"""Two drivers that send a handed-off stream over the server's own ``send``.

``PulledDelivery`` runs on a server whose ``send`` suspends whenever it likes: one coroutine waits
for the stream and then for the server, in turn.

``PushedDelivery`` runs on a server whose ``send`` suspends only when the client is too slow. There
an idle stream has no task. Whatever wakes the stream runs the driver, and the driver calls ``send``
without an event loop around it:

    sending = send(message)        # a coroutine: nothing has happened yet
    sending.send(None)             # runs it to its first suspension, or to its end

An ``async def`` function is a generator underneath (PEP 492), and an event loop does nothing else
with a task than call ``send(None)`` on it again and again. Two things can happen:

- ``StopIteration``: ``send`` returned, the server has the chunk. This is the usual case, and it has
  cost no task, no future and no turn of the loop. It halves the cost of an event.
- It gives a future: ``send`` waits for the client. The coroutine is now suspended *by us*, and only
  a task may wait for a future. So a task takes over: ``_rest`` yields that same future to the loop
  as if the task itself had just awaited it, and then passes on whatever the loop sends or throws.

The first step runs in the context of whatever woke the stream and outside any task, so
``asyncio.current_task()`` inside ``send`` is not this client's. That is why only servers push whose
``send`` was read and does not ask (``pushes`` in ``django_sse.servers``). An exception in the first
step belongs to this stream alone: it is given to the server's own coroutine to raise, and the other
streams that are woken in the same round go on.
"""

from __future__ import annotations

import asyncio
import types
from abc import ABC, abstractmethod
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from django_sse.streams.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from django_sse.servers.base import Connection
    from django_sse.streams.stream import Stream

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]

_END = {"type": "http.response.body", "body": b"", "more_body": False}


def _body(chunk: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": chunk, "more_body": True}


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Run the rest of ``coroutine``, whose first step was taken by hand and gave ``waits_for``."""
    try:
        while True:
            try:
                value = yield waits_for
            except BaseException as error:
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(value)
    except StopIteration:
        return


class Delivery(Driver, ABC):
    """The sending of ``stream`` until it ends or its client leaves."""

    def __init__(self, stream: Stream, send: Send, connection: Connection) -> None:
        self._stream = stream
        self._send = send
        self._connection = connection
        self.drops = connection.drops
        stream.driver = self

    def acknowledges(self, seconds: float) -> bool:
        return self._connection.acknowledges(seconds)

    @abstractmethod
    async def run(self) -> None:
        """Send until the body is complete or the client has left."""

    def _release(self) -> None:
        """Close the stream and let go of it: the two would keep each other in memory."""
        self._stream.driver = Driver()
        self._stream.close()

    async def _write(self, chunk: bytes) -> None:
        while True:
            room = self._connection.room
            if len(chunk) <= room:
                break
            if room:
                await self._send(_body(chunk[:room]))
                chunk = chunk[room:]
            else:
                await self._connection.ready()
        await self._send(_body(chunk))

    async def _finish(self) -> None:
        self._connection.release()
        # The stream has ended and is not looked after any more. Where nothing drops the connection,
        # an end that is not sent would keep it open.
        limit = self._stream.send_timeout if self._connection.drops else None
        try:
            async with asyncio.timeout(limit):
                await self._send(_END)
        except TimeoutError:
            self._connection.drop()


class PulledDelivery(Delivery):
    """One coroutine, the server's own, takes and sends; the task ``watch`` ends when the client
    leaves."""

    def __init__(
        self, stream: Stream, watch: asyncio.Task[None], send: Send, connection: Connection
    ) -> None:
        super().__init__(stream, send, connection)
        self._watch = watch
        self._task: asyncio.Task[Any] | None = None
        self._gone = False
        self._sending = False

    async def run(self) -> None:
        self._task = asyncio.current_task()
        self._watch.add_done_callback(self._client_left)
        try:
            async for chunk in self._stream:
                self._sending = True
                await self._write(chunk)
                self._sending = False
            if not self._gone:
                self._sending = True
                await self._finish()
        except OSError:
            # A server says so that the connection is closed (ASGI 2.4).
            if not self._sending:
                raise
        except asyncio.CancelledError:
            if not self._gone or self._task is None or self._task.uncancel():
                raise
        finally:
            self._release()
            self._watch.cancel()

    def _client_left(self, watch: asyncio.Task[None]) -> None:
        if not watch.cancelled():
            # An error of receive() means that the client is gone; send() will raise its own.
            watch.exception()
            self._leave()

    def _leave(self) -> None:
        self._gone = True
        self._stream.close()
        if self._sending and self._task is not None:
            # The client will never take the chunk that is being sent.
            self._task.cancel()

    def stalled(self) -> None:
        self._connection.drop()
        self._leave()


class PushedDelivery(Delivery):
    """The server's own coroutine waits for the client to leave; whatever wakes the stream sends."""

    pushes = True

    def __init__(
        self, stream: Stream, receive: Receive, send: Send, connection: Connection
    ) -> None:
        super().__init__(stream, send, connection)
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._pulling: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    async def run(self) -> None:
        self._task = asyncio.current_task()
        self._pull_soon()
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if self._error is None or self._task is None or self._task.uncancel():
                raise
            raise self._error from None
        finally:
            self._release()
            if self._pulling is not None:
                self._pulling.cancel()

    def ready(self) -> None:
        """Send what there is, without waiting."""
        stream = self._stream
        try:
            while chunk := stream.poll():
                if len(chunk) > self._connection.room:
                    return self._pull_soon(partial(self._write, chunk))
                sending = self._send(
                    {"type": "http.response.body", "body": chunk, "more_body": True}
                )
                try:
                    waits_for = sending.send(None)
                except StopIteration:
                    if stream.at_tail:
                        return None
                    continue
                return self._pull_soon(partial(_rest, sending, waits_for))
            if chunk is None:
                self._pull_soon()
        except Exception as error:
            # The error is this stream's alone: the others that are woken in this round go on.
            self._fail(error)

    def _pull_soon(self, first: Callable[[], Awaitable[None]] | None = None) -> None:
        """Go on in a task: await ``first()``, then send until the stream is parked again."""
        self._stream.resume()
        self._pulling = self._loop.create_task(self._pull(first), context=Context())

    async def _pull(self, first: Callable[[], Awaitable[None]] | None) -> None:
        try:
            if first is not None:
                self._stream.sending_since = self._loop.time()
                await first()
            async for chunk in self._stream:
                if not chunk:
                    return
                await self._write(chunk)
            await self._finish()
        except Exception as error:
            self._fail(error)
        finally:
            self._pulling = None

    def _fail(self, error: BaseException) -> None:
        """Have the server's coroutine raise ``error``: the server knows how a response breaks."""
        # Or the next one that wakes it would fail as well, and cancel twice.
        self._stream.resume()
        self._error = error
        if self._task is not None:
            self._task.cancel()

    def stalled(self) -> None:
        self._connection.drop()
        if self._pulling is not None:
            self._pulling.cancel()
