"""The machine: its cores, its limits, and what to say about it in a report."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import build

HERE = Path(__file__).resolve().parent

FILES = 65536
NEEDED_FILES = 10_500
PACKAGES = (
    "django", "uvicorn", "uvloop", "httptools", "granian", "daphne", "twisted", "sse-starlette",
    "django-eventstream", "psycopg",
)  # fmt: skip


# Of the whole machine, also after this process has left some of them alone.
_affinity = frozenset(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core serves, which make the load; none where there are too few to share out."""

    server: int | None
    load: tuple[int, ...]

    @classmethod
    def of_machine(cls) -> Cores:
        found = sorted(_affinity)
        if len(found) < 2:
            return cls(None, ())
        # The rest of the machine (databases, other publishers) is left the other cores.
        return cls(found[0], (found[1],))


def warnings(files: int) -> list[str]:
    """What makes the figures of this machine less than they should be."""
    found = []
    cores = len(_affinity)
    if cores < 4:
        found.append(
            f"{cores} cores: the server, the load and the databases are in each other's way. "
            "The figures need four."
        )
    if files < NEEDED_FILES:
        found.append(f"A process may open {files} files: ten thousand clients do not fit.")
    if os.getloadavg()[0] > 0.5:
        found.append(f"The machine does other work: its load is {os.getloadavg()[0]:.1f}.")
    return found


def raise_limits() -> int:
    """Open files, for ten thousand clients at both ends. Returns how many a process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(FILES, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return wanted


def _say(*command: str) -> str:
    """What a program says of its version, on whichever stream."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return (done.stdout or done.stderr).strip()


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    better_sse = HERE / "node" / "node_modules" / "better-sse" / "package.json"
    if better_sse.exists():
        found["better-sse"] = json.loads(better_sse.read_text())["version"]
    found["Node"] = _say("node", "--version").removeprefix("v")
    found["nginx"] = _say(build.find("nginx") or "nginx", "-v").rpartition("/")[2]
    found["nchan"] = _say("dpkg-query", "--show", "--showformat=${Version}", "libnginx-mod-nchan")
    found["PostgreSQL"] = _say("psql", "--version").removeprefix("psql (PostgreSQL) ")
    return {name: version for name, version in found.items() if version}


def describe(arguments: str, rounds: int) -> dict[str, Any]:
    """What a reader needs to know to read the figures."""
    return {
        "date": time.strftime("%-d %B %Y"),
        "command": f"python -m benchmarks.run {arguments}".rstrip(),
        "rounds": rounds,
        "processor": processor(),
        "cores": len(_affinity),
        "kernel": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 1),
        "versions": versions(),
    }


def leave_to_others(cores: Cores) -> None:
    """Keep this process, and the publishers it starts, off the cores that are measured."""
    rest = _affinity - {cores.server, *cores.load}
    if rest:
        os.sched_setaffinity(0, rest)
