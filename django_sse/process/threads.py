"""Threads of the library's own. They are threads of the operating system even where gevent has
replaced those of Python by greenlets.

An event loop in a greenlet would be the running loop of all greenlets of its thread: Django refuses
to query a database there (``SynchronousOnlyOperation``), in every view of the process.

gevent's locks work between its greenlets and threads like these (since 21.1), as long as something
else keeps the greenlets' hub alive: a server's socket, a timer.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Callable


def start(target: Callable[..., object], *args: Any, name: str) -> None:
    """Run ``target(*args)`` in a new thread, which does not keep the process alive.

    Raises ``RuntimeError`` when the system refuses a thread.
    """
    if _gevent():
        original("_thread", "start_new_thread")(target, args)
    else:
        threading.Thread(target=target, args=args, name=name, daemon=True).start()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a loop for such a thread.

    On Windows it is not the default one (proactor), on which psycopg refuses to run. With gevent it
    waits in the kernel: gevent's own selector belongs to the thread that has made it.
    """
    if _gevent():
        return asyncio.SelectorEventLoop(original("selectors", "DefaultSelector")())
    return asyncio.SelectorEventLoop() if sys.platform == "win32" else asyncio.new_event_loop()


def original(module: str, name: str) -> Any:
    """Return what Python has as ``name`` in ``module``, also where gevent has replaced it."""
    gevent = _gevent()
    return gevent.get_original(module, name) if gevent else getattr(import_module(module), name)


def refuse_greenlets(view: str) -> None:
    """Raise ``ImproperlyConfigured`` where gevent is, for a ``view`` that asgiref would run.

    asgiref runs an event loop in the caller's thread. That is right for one greenlet at a time, and
    the next one that wants a loop gets ``RuntimeError``.
    """
    if _gevent():
        raise ImproperlyConfigured(
            f"{view} cannot stream in a process of gevent: asgiref would run its event loop in the "
            "thread that all greenlets share. Use a sync view (def) that is not resumable, "
            "gunicorn's --worker-class gthread, or an ASGI server (docs/wsgi.md)."
        )


def _gevent() -> Any:
    """Return gevent's module ``monkey`` if it has replaced this process's threads."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey if monkey is not None and monkey.is_module_patched("threading") else None
