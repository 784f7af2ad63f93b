"""Servers as processes: started on a core of their own, watched, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60.0


class ServerFailed(RuntimeError):
    """The server did not start, or ended; the message ends with what it wrote."""


def end_on_signals() -> None:
    """Have what ends this process end the servers, too: by default ``finally`` is not run."""

    def end(signum: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signum)

    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, end)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _stat(pid: int) -> list[str]:
    """proc_pid_stat(5), from the third field on; empty when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


class Tree:
    """All processes of one session: a server and its workers."""

    def __init__(self, session: int) -> None:
        self.session = session

    def pids(self) -> list[int]:
        numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        stats = {pid: stat for pid in numbers if (stat := _stat(pid))}
        # A zombie is only waiting for its parent, which may be a container's idle first process.
        return [
            pid
            for pid, stat in stats.items()
            if int(stat[3]) == self.session and stat[0] not in "ZX"
        ]

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        stats = [_stat(pid) for pid in self.pids()]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats if stat) / TICKS

    def threads(self) -> int:
        return sum(int(stat[17]) for stat in map(_stat, self.pids()) if stat)

    def memory(self) -> int:
        """Bytes: the proportional set size, which counts what is shared once."""
        total = 0
        for pid in self.pids():
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        return total

    def kill(self) -> None:
        """All of them; returns when they are gone."""
        while pids := self.pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(
    command: Sequence[str], port: int, env: Mapping[str, str], core: int | None, cwd: Path
) -> Iterator[Tree]:
    """The server that ``command`` starts, pinned to ``core``, once it listens on ``port``."""
    pinned = ["taskset", "--cpu-list", str(core)] if core is not None else []
    with tempfile.TemporaryFile("w+b") as output:
        process = subprocess.Popen(
            [*pinned, *command],
            env={**os.environ, **env},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        tree = Tree(process.pid)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ServerFailed("the server does not answer")
                time.sleep(0.02)
            yield tree
        except Exception as error:
            output.seek(0)
            wrote = output.read().decode(errors="replace")[-3000:]
            raise ServerFailed(f"{error}\n{' '.join(command)} wrote:\n{wrote}") from error
        finally:
            tree.kill()
            process.wait()
