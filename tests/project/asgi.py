"""The test project under an ASGI server, in the ways that people put it there.

Read from the environment, because a server is another process:

`DJANGO_SSE_TEST_HANDOFF`  `0`: Django's own application, without the handoff
`DJANGO_SSE_TEST_ASGI`     what stands around it, a key of `AROUND`; default: nothing
"""

from __future__ import annotations

import os
from typing import Any

from django.core.asgi import get_asgi_application as get_django_application

from django_sse.asgi import EventStreamHandoff, get_asgi_application


def _routed() -> Any:
    from channels.routing import ProtocolTypeRouter

    return ProtocolTypeRouter({"http": EventStreamHandoff(get_django_application())})


def _static() -> Any:
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

    application: Any = get_asgi_application()
    return ASGIStaticFilesHandler(application)


def _outside() -> Any:
    """A middleware around the handoff that has a `send` of its own."""
    inner = get_asgi_application()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"X-Outside", b"yes")]}
            await send(message)

        await inner(scope, receive, marked)

    return application


def _inside() -> Any:
    """One between the handoff and Django: it sees the headers, and no frame."""
    django = get_django_application()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"X-Inside", b"yes")]}
            elif message.get("body"):
                message = {**message, "body": message["body"].replace(b"step", b"STEP")}
            await send(message)

        await django(scope, receive, marked)

    return EventStreamHandoff(application)


AROUND = {
    "": get_asgi_application,
    "routed": _routed,
    "static": _static,
    "outside": _outside,
    "inside": _inside,
}

if os.environ.get("DJANGO_SSE_TEST_HANDOFF", "1") == "1":
    application = AROUND[os.environ.get("DJANGO_SSE_TEST_ASGI", "")]()
else:
    application = get_django_application()
