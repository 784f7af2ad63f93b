"""Which server this is. Servers are known by the names of their modules: none has to be installed,
and only the file of the one that serves is loaded."""

from __future__ import annotations

import functools
import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django_sse.servers.base import Connection, Server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_sse.servers.base import Receive, Send

_SERVERS = frozenset({"daphne", "gunicorn", "hypercorn", "uvicorn"})
"""Those that have a file here with a function ``connection``."""


def connection(send: Send, receive: Receive | None = None) -> Connection:
    """The connection that ``send`` and ``receive`` belong to.

    Behind a middleware with a ``send`` of its own the server is taken for an unknown one.
    """
    package = _package(send)
    if package not in _SERVERS:
        return Connection()
    found: Connection | None = import_module(f"{__package__}.{package}").connection(send, receive)
    return Connection() if found is None else found


def wsgi_connection(environ: Mapping[str, Any]) -> Connection:
    """Return the connection of a WSGI request. Of servers that do not show it nothing is known."""
    if "gunicorn.socket" not in environ:
        return Connection()
    from django_sse.servers.gunicorn import wsgi_connection

    return wsgi_connection(environ) or Connection()


def _package(send: Any) -> str:
    """The first part of the name of the module that ``send`` comes from."""
    if isinstance(send, functools.partial):
        owner: Any = type(send.args[0]) if send.args else None
    else:
        owner = type(send.__self__) if inspect.ismethod(send) else send
    return (getattr(owner, "__module__", None) or "").partition(".")[0]


def server_of(handler: Any) -> Server:
    """The server that has installed ``handler`` for a signal."""
    owner = getattr(handler, "__self__", None)
    # A worker's class may be the project's own.
    owners = {each.__module__.partition(".")[0] for each in type(owner).__mro__}
    module = (getattr(handler, "__module__", None) or "").partition(".")[0]
    if "gunicorn" in owners:
        from django_sse.servers.gunicorn import GunicornWorker

        return GunicornWorker(owner)
    if "uvicorn" in owners:
        from django_sse.servers.uvicorn import UvicornServer

        return UvicornServer(owner)
    if module == "twisted":
        from django_sse.servers.daphne import DaphneServer

        return DaphneServer()
    if module in ("asyncio", "uvloop"):
        from django_sse.servers.granian import LoopServer

        return LoopServer()
    return Server()
