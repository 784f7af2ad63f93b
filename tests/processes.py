"""What Linux tells about processes, read from /proc (proc(5))."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

KILL_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open file descriptor: `target` is a path, or `socket:[inode]`, `pipe:[inode]`, ..."""

    pid: int
    number: int
    target: str


def session_members(session: int) -> Iterator[int]:
    """The living processes of a session, those included whose parent is gone; zombies are not."""
    for name in _listdir("/proc"):
        if not name.isdecimal():
            continue
        with suppress(OSError):
            # The second field, in brackets, is the program's name and may hold anything; after it
            # stand state, parent, process group, session.
            fields = Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2]
            state, _parent, _group, member_of = fields.split()[:4]
            if int(member_of) == session and state not in "ZX":
                yield int(name)


def kill_session(session: int) -> int:
    """SIGKILL to all living processes of a session; returns how many, when they are dead.

    Again and again until none is left: a server that is killed after its worker may have started
    another one in between. Raises `TimeoutError` if one does not die within `KILL_TIMEOUT` s.
    """
    killed = 0
    while pids := list(session_members(session)):
        with ExitStack() as stack:
            for pid in pids:
                with suppress(ProcessLookupError):
                    handle = os.pidfd_open(pid)
                    stack.callback(os.close, handle)
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    _wait_for_death(pid, handle)
        killed += len(pids)
    return killed


def _wait_for_death(pid: int, handle: int) -> None:
    # pidfd_open(2): readable once the process has ended, waited for or not.
    if not select.select([handle], [], [], KILL_TIMEOUT)[0]:
        raise TimeoutError(f"process {pid} still lives {KILL_TIMEOUT} s after SIGKILL")


def thread_count(pid: int) -> int:
    """Threads of a process, the main one included; 0 when it is gone."""
    return len(_listdir(f"/proc/{pid}/task"))


def open_files(pid: int) -> Iterator[OpenFile]:
    """Open file descriptors of a process; none when it is gone."""
    for name in _listdir(f"/proc/{pid}/fd"):
        # Closed between the listing and the look.
        with suppress(OSError):
            yield OpenFile(pid, int(name), os.readlink(f"/proc/{pid}/fd/{name}"))


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, ProcessLookupError):
        return []
