"""Which processes serve the demo, and how one of them dies."""

from __future__ import annotations

import os
import signal
from asyncio import get_running_loop
from pathlib import Path

from django.conf import settings

from ..errors import BadInput

# Long enough for the answer to whoever asked for it, if it dies by its own hand.
SECONDS_TO_LIVE = 0.2


def why_not() -> str:
    """Why no worker can be killed here; empty if one can."""
    if settings.DEMO_WORKERS < 2:
        return (
            "This server is a single process: killing it would end the demo. "
            "“make demo-workers” serves with two."
        )
    if not Path("/proc/self/stat").exists():
        return "To tell its own workers from other processes the demo needs Linux's /proc."
    return ""


def kill_soon(pid: int) -> None:
    """SIGKILL for ``pid``, as the kernel does when memory runs out: no ``finally`` runs.

    On the event loop. Raises ``BadInput`` unless it is a worker of this server.
    """
    if reason := why_not():
        raise BadInput(reason, status=409)
    # The number may have been given to a stranger since.
    if parent_of(pid) != os.getppid():
        raise BadInput(f"The process {pid} is no worker of this server any more.", status=409)
    get_running_loop().call_later(SECONDS_TO_LIVE, os.kill, pid, signal.SIGKILL)


def parent_of(pid: int) -> int | None:
    """The parent of a process; None if there is no such process (proc(5), /proc/pid/stat)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the name, in parentheses, and may hold any character.
    state, parent = stat.rpartition(")")[2].split()[:2]
    return None if state == "Z" else int(parent)
