"""The handoff: Django answers the request, and the stream goes on without Django.

In the project's ``asgi.py`` write ::

    from django_sse.asgi import get_asgi_application

    application = get_asgi_application()

or, where something else makes the application, put ``EventStreamHandoff(application)`` directly
around Django's. Django then finishes the request: middleware runs, cookies are set,
``request_finished`` is sent, and the request's thread and connections are free. After that the
frames go over the server's own ``send`` (ASGI, HTTP connection scope). A server that stops waits
for the runs of its process (ASGI, lifespan protocol). Without the handoff everything works inside
Django's handler, where an open stream costs more memory and an event more time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.asgi import get_asgi_application as get_django_application

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django_sse.handoff.deliveries import Delivery

    Scope = dict[str, Any]
    Application = Callable[[Scope, Any, Any], Awaitable[None]]

__all__ = ["EventStreamHandoff", "get_asgi_application"]


def get_asgi_application() -> EventStreamHandoff:
    """Django's ``get_asgi_application`` with the handoff around it."""
    return EventStreamHandoff(get_django_application())


class EventStreamHandoff:
    """An ASGI application around Django's ``application`` that streams what its views hand off.

    Everything else passes through.
    """

    def __init__(self, application: Application) -> None:
        # Imported here, because these load the models: Django is set up when its own application
        # is made, not before.
        from django_sse.handoff import lifespan
        from django_sse.handoff.exchange import Exchange
        from django_sse.http.response import HANDOFF

        self._application = application
        self._lifespan = lifespan
        self._exchange = Exchange
        self._key = HANDOFF

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """See the ASGI specification, version 3."""
        if scope["type"] == "lifespan":
            await self._lifespan.serve(self._application, scope, receive, send)
            return
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        delivery = await self._answer(scope, receive, send)
        if delivery is not None:
            # Nothing of the request is held from here on.
            await delivery.run()

    async def _answer(self, scope: Scope, receive: Any, send: Any) -> Delivery | None:
        """Let Django answer, and return what is left to deliver."""
        exchange = self._exchange(receive, send)
        try:
            await self._application(
                {**scope, self._key: exchange.take}, exchange.receive, exchange.send
            )
            return exchange.delivery()
        except BaseException:
            exchange.drop()
            raise
