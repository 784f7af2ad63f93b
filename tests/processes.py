"""What Linux tells about processes, read from /proc (proc(5)), and programs to start and kill."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests import ROOT

KILL_TIMEOUT = 60.0
START_TIMEOUT = 60.0


def accept_interrupts() -> None:
    """Makes SIGINT mean what it means in a terminal, for the children of this process too.

    A shell starts what it puts in the background (`.ci/run &`, nohup) with SIGINT ignored; that is
    inherited through exec, and then no Ctrl-C reaches a server under test. Call in the main thread.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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


class Watchdog:
    """Kills the sessions it was given when this process is gone, even by SIGKILL.

    A process of its own that reads a pipe: only the kernel can be relied on to close that. (A
    parent-death signal, prctl(2), is about the thread that started the child, and its child alone.)
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            # It outlives this process: whoever reads from this one must not wait for it.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Out of reach of a Ctrl-C in the terminal.
            start_new_session=True,
        )

    def watch(self, session: int) -> None:
        self._tell(f"+{session}")

    def release(self, session: int) -> None:
        self._tell(f"-{session}")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        # One write below PIPE_BUF: whole, whichever thread or forked child it comes from.
        os.write(self._process.stdin.fileno(), f"{line}\n".encode())


@cache
def watchdog() -> Watchdog:
    """The one of this process, started at first use."""
    return Watchdog()


def kill_at_end(lines: Iterable[str]) -> None:
    """Keeps book of `+session` and `-session`; at the end of the lines kills what is left."""
    sessions: set[int] = set()
    for line in lines:
        change = sessions.add if line.startswith("+") else sessions.discard
        change(int(line[1:]))
    for session in sessions:
        kill_session(session)


class ProgramFailed(AssertionError):
    """A program did not start; the message ends with what it wrote."""


class Program:
    """A program in a session of its own, that is killed with all it has started.

    It may be started again. `log` is the file for what it writes to stdout and stderr.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and not killed since; it may have ended by itself."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Of the main process, and of the session. Raises `RuntimeError` if it is down."""
        if self._process is None:
            raise RuntimeError("The program is not running: start() it first.")
        return self._process.pid

    def output(self) -> str:
        """All that it wrote so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(
        self,
        command: Sequence[str],
        ready: Callable[[], bool],
        timeout: float = START_TIMEOUT,
        **options: Any,
    ) -> None:
        """Returns when it is `ready`. Raises `ProgramFailed` if it ends before, or never is.

        `options` are those of `subprocess.Popen`.
        """
        if self._process is not None:
            raise RuntimeError("The program is running: kill() it first.")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )
        watchdog().watch(self.pid)
        try:
            self._wait_until(ready, command[0], timeout)
        except BaseException:
            self.kill()
            raise

    def _wait_until(self, ready: Callable[[], bool], name: str, timeout: float) -> None:
        assert self._process is not None
        deadline = time.monotonic() + timeout
        while not ready():
            # The wait for the process is the pause between two attempts.
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(timeout=0.05)
                raise ProgramFailed(f"{name} ended with {code}:\n{self.output()}")
            if time.monotonic() > deadline:
                raise ProgramFailed(f"{name} is not ready after {timeout} s:\n{self.output()}")

    def wait(self, timeout: float = KILL_TIMEOUT) -> int:
        """Until it ends by itself; its return code. Raises `subprocess.TimeoutExpired`."""
        assert self._process is not None
        code = self._process.wait(timeout)
        self.kill()
        return code

    def kill(self) -> None:
        """SIGKILL to all of its processes: a crash. One that is down stays down."""
        if self._process is not None:
            kill_session(self._process.pid)
            self._process.wait()
            watchdog().release(self._process.pid)
            self._process = None


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


if __name__ == "__main__":
    kill_at_end(sys.stdin)
