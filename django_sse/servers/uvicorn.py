"""uvicorn.

Private names (0.54):

- ``RequestResponseCycle.transport`` of the object whose method ``send`` is, in
  ``uvicorn.protocols.http.*``. Without it a stalled client cannot be dropped, and each stream has
  a task of its own.
- ``Server.servers`` of the object whose method handles SIGTERM (asyncio's servers, one for each
  address). Without it streams outlive ``--limit-max-requests``, and uvicorn waits for them.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from django_sse.servers.base import Server, TransportConnection

if TYPE_CHECKING:
    from django_sse.servers.base import Connection, Receive, Send


class UvicornConnection(TransportConnection):
    """Its ``send`` waits only above the high-water mark."""

    pushes = True


class UvicornServer(Server):
    """After ``--limit-max-requests`` it closes its listening sockets, and no signal tells."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def stops(self) -> bool:
        return not all(each.is_serving() for each in getattr(self._server, "servers", ()))


def connection(send: Send, receive: Receive | None) -> Connection | None:
    """Its connection, if ``send`` is known."""
    if not inspect.ismethod(send) or not hasattr(send.__self__, "transport"):
        return None
    known = type(send.__self__).__module__.startswith("uvicorn.protocols.http.")
    return UvicornConnection(send.__self__) if known else None
