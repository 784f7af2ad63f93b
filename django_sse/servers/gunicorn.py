"""gunicorn: the connections of its ASGI worker and of its WSGI workers, and how each worker stops.

Its WSGI workers put the client's socket into the environment of a request, as ``gunicorn.socket``.

Private names (27.0):

- ``receive.__self__.protocol`` (``BodyReceiver``), where ``send`` is a function of
  ``gunicorn.asgi.protocol``, with ``transport``. Without them a stalled client cannot be dropped.
- ``_sock`` of gevent's sockets (26.9): the socket of Python. Without it gevent's own method is
  called, from another thread than its greenlets'.
- ``Worker.cfg``, and the modules ``gunicorn.workers.gthread`` and ``sync``. Without them streams
  may take all threads, and nothing warns of the sync worker.
- ``ASGIProtocol.worker``, and ``Worker.alive``, also of the object whose method handles SIGTERM.
  Without them streams outlive ``--max-requests``, and gunicorn kills the worker in the end.
"""

from __future__ import annotations

import _socket
import select
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django_sse.process import threads
from django_sse.servers.base import Connection, Server, TransportConnection

if TYPE_CHECKING:
    from django_sse.servers.base import Receive, Send

# The client has closed its side (Linux). The kernel reports a reset without being asked.
_LEFT = getattr(select, "POLLRDHUP", 0)

_SYNC = (
    "gunicorn's sync worker serves one client at a time, and is killed when a request takes longer "
    "than --timeout (30 s). So a stream keeps everybody else waiting, and is cut in the end. Start "
    "gunicorn with --worker-class gthread --threads 16 (docs/wsgi.md)."
)


class GunicornConnection(TransportConnection):
    """Of the ASGI worker on HTTP/1. It closes a connection whose application has given up only
    when all is sent, which for a client that reads nothing is never."""

    def __init__(self, owner: Any) -> None:
        super().__init__(owner)
        worker = getattr(owner, "worker", None)
        self.server = None if worker is None else GunicornWorker(worker)


class GunicornSocket(Connection):
    """Of the WSGI workers; their ``send`` is a blocking ``sendall`` in a thread of the server."""

    drops = True
    sees_leave = hasattr(select, "poll")

    def __init__(self, client: socket.socket) -> None:
        self._client = client

    def left(self) -> bool:
        # Not by reading: the client may have sent its next request already, and TLS has records.
        poll = threads.original("select", "poll")()
        descriptor = self._client.fileno()
        if descriptor < 0:
            return True
        poll.register(descriptor, _LEFT)
        return bool(poll.poll(0))

    def drop(self) -> None:
        # It wakes a thread that is blocked in ``sendall``. Not the method of an ``SSLSocket``: that
        # would make the thread go on in plain text. Nor gevent's, for the greenlets of one thread.
        inner = getattr(self._client, "_sock", self._client)
        with suppress(OSError):
            _socket.socket.shutdown(inner, socket.SHUT_RDWR)

    def _socket(self) -> Any:
        return self._client


class GunicornWorker(Server):
    """After ``--max-requests`` it stops, and no signal tells."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        modules = {each.__module__ for each in type(worker).__mro__}
        if "gunicorn.workers.gthread" in modules:
            self.threads = getattr(getattr(worker, "cfg", None), "threads", None)
        if "gunicorn.workers.sync" in modules:
            self.unfit = _SYNC

    def stops(self) -> bool:
        return not getattr(self._worker, "alive", True)


def connection(send: Send, receive: Receive | None) -> Connection | None:
    """Its connection, if ``receive`` is known; ``send`` is a plain function."""
    protocol = getattr(getattr(receive, "__self__", None), "protocol", None)
    known = getattr(send, "__module__", None) == "gunicorn.asgi.protocol"
    return GunicornConnection(protocol) if known and hasattr(protocol, "transport") else None


def wsgi_connection(environ: Mapping[str, Any]) -> Connection | None:
    """Return the connection of the request with this ``environ``, if it has its socket."""
    client = environ.get("gunicorn.socket")
    return GunicornSocket(client) if isinstance(client, socket.socket) else None
