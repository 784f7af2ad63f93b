"""The lifespan protocol (ASGI): a server that stops waits here for the runs of the process.

For streams that is too late, since servers wait for them first. For runs, which go on without a
client, it is the right moment: the server accepts no new request any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_sse.process import stopping
from django_sse.servers import signals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


async def serve(
    application: Application, scope: dict[str, Any], receive: Receive, send: Send
) -> None:
    """Serve the lifespan of ``application``, which may have none of its own; Django's has none."""
    signals.serves_lifespan()
    asked = False

    async def receive_after_work() -> Message:
        nonlocal asked
        asked = True
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await stopping.finish()
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
