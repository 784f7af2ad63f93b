"""A server whose threads are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def gunicorn_handler(threads: int) -> Any:
    """The handler for SIGTERM of gunicorn's worker with so many threads."""
    names = {"__module__": "gunicorn.workers.gthread", "handle_exit": lambda self, *args: None}
    worker = type("ThreadWorker", (), names)()
    worker.cfg = SimpleNamespace(threads=threads)
    return worker.handle_exit
