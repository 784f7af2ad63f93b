"""Which server process counted a connection, and whether it still runs.

A server that is killed, and each reload of ``runserver``, counts nobody down. What a process left
behind is recognized by its number. That holds on one machine, which is where the demo runs; a
presence with a time to live, for many, is a feature of the library to come.
"""

from __future__ import annotations

import os
import secrets
import sys

# A process number comes again, in a container at every start.
_START = secrets.token_hex(4)


def this_process() -> str:
    """The name of the running process; another one after a fork."""
    return f"{os.getpid()}-{_START}"


def is_running(process: str) -> bool:
    """Whether the process of that name still runs on this machine."""
    pid = int(process.partition("-")[0])
    if pid == os.getpid():
        return process == this_process()
    if sys.platform == "win32":
        # There os.kill(pid, 0) sends Ctrl-C. Under runserver no other process serves the demo.
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
