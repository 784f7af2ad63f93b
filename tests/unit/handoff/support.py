"""The other side of a delivery: a server, with a client behind it."""

from __future__ import annotations

import asyncio
from typing import Any

from django_sse.servers import base

Message = dict[str, Any]


class Connection:
    """What a server gives an application (``receive``, ``send``), and what its client got.

    ``send`` suspends while ``room`` is not set, and once anyway if ``suspends``; it raises
    ``error`` if there is one.
    """

    def __init__(self, *, request_body: bytes = b"") -> None:
        self.messages: list[Message] = []
        self.room = asyncio.Event()
        self.room.set()
        self.suspends = False
        self.error: Exception | None = None
        self.waiting = 0
        self.cancelled = 0
        self._request: list[Message] = [
            {"type": "http.request", "body": request_body, "more_body": False}
        ]
        self._gone = asyncio.Event()

    async def receive(self) -> Message:
        if self._request:
            return self._request.pop(0)
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.error is not None:
            raise self.error
        self.waiting += 1
        try:
            if self.suspends:
                await asyncio.sleep(0)
            if not self.room.is_set():
                await self.room.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        self.messages.append(message)
        if self.ended:
            # As the specification has it: the response is complete.
            self._gone.set()

    def leave(self) -> None:
        """The client closes the connection."""
        self._gone.set()

    def read_request(self) -> None:
        """The request's body was read."""
        self._request.clear()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def chunks(self) -> list[bytes]:
        return [message["body"] for message in self.messages if message.get("body")]

    @property
    def ended(self) -> bool:
        last = self.messages[-1] if self.messages else {"type": ""}
        return last["type"] == "http.response.body" and not last.get("more_body")


class Gate(base.Connection):
    """Has no room when the test says so."""

    def __init__(self, *, pushes: bool = False, drops: bool = True) -> None:
        self.pushes, self.drops = pushes, drops
        self.bytes_at_once = 1 << 30
        self.dropped = self.released = 0
        self._open = asyncio.Event()
        self._open.set()

    def block(self) -> None:
        self._open.clear()

    def unblock(self) -> None:
        self._open.set()

    @property
    def room(self) -> int:
        return self.bytes_at_once if self._open.is_set() else 0

    async def ready(self) -> None:
        await self._open.wait()

    def drop(self) -> None:
        self.dropped += 1

    def release(self) -> None:
        self.released += 1
