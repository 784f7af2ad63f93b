"""Waiting for what nobody tells: that another process has let go of something."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.servers import Server

TIMEOUT = 60.0
PAUSE = 0.05


def eventually(reached: Callable[[], bool], seen: Callable[[], object]) -> None:
    """Looks again and again. Raises `AssertionError` with what is `seen` if it is never so."""
    deadline = time.monotonic() + TIMEOUT
    while not reached():
        assert time.monotonic() < deadline, seen()
        time.sleep(PAUSE)


def until_free_of_database(server: Server, handles: int = 0) -> None:
    """Returns when the server's processes have their SQLite file open so often, or less."""
    eventually(lambda: server.database_handles() <= handles, server.database_handles)
