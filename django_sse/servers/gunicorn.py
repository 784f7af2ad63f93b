"""gunicorn: its own ASGI worker, and how each of its workers stops.

Private names (27.0):

- ``receive.__self__.protocol`` (``BodyReceiver``), where ``send`` is a function of
  ``gunicorn.asgi.protocol``, with ``transport``. Without them a stalled client cannot be dropped.
- ``ASGIProtocol.worker``, and ``Worker.alive``, also of the object whose method handles SIGTERM.
  Without them streams outlive ``--max-requests``, and gunicorn kills the worker in the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_sse.servers.base import Server, TransportConnection

if TYPE_CHECKING:
    from django_sse.servers.base import Connection, Receive, Send


class GunicornConnection(TransportConnection):
    """Of the ASGI worker on HTTP/1. It closes a connection whose application has given up only
    when all is sent, which for a client that reads nothing is never."""

    def __init__(self, owner: Any) -> None:
        super().__init__(owner)
        worker = getattr(owner, "worker", None)
        self.server = None if worker is None else GunicornWorker(worker)


class GunicornWorker(Server):
    """After ``--max-requests`` it stops, and no signal tells."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def stops(self) -> bool:
        return not getattr(self._worker, "alive", True)


def connection(send: Send, receive: Receive | None) -> Connection | None:
    """Its connection, if ``receive`` is known; ``send`` is a plain function."""
    protocol = getattr(getattr(receive, "__self__", None), "protocol", None)
    known = getattr(send, "__module__", None) == "gunicorn.asgi.protocol"
    return GunicornConnection(protocol) if known and hasattr(protocol, "transport") else None
