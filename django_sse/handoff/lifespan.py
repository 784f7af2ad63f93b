"""The server's word that it stops (ASGI, lifespan protocol): it waits for the runs of the process.

For streams it would come too late, since servers wait for them first; for what goes on without a
client it comes just in time, when no new request is accepted any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_sse.process import stopping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


async def serve(
    application: Application, scope: dict[str, Any], receive: Receive, send: Send
) -> None:
    """The lifespan of ``application``, which may have none of its own, as Django's has not."""
    stopping.serves_lifespan()
    asked = False

    async def receive_after_work() -> Message:
        nonlocal asked
        asked = True
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await stopping.finish_work()
        return message

    try:
        await application(scope, receive_after_work, send)
    except Exception:
        # One that raises for the scope alone has no lifespan, says the protocol.
        if asked:
            raise
        await _serve_alone(receive_after_work, send)


async def _serve_alone(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": f"{message['type']}.complete"})
