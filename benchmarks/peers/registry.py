"""The peers by name: how each is started and what it is asked for."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import build
from benchmarks.processes import ServerFailed, Tree, running

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent

PYTHON: Final = sys.executable
SERVERS: Final = {
    "daphne": f"{PYTHON} -m daphne --verbosity 0 --bind 127.0.0.1 --port {{port}} {{app}}",
    "uvicorn": (
        f"{PYTHON} -m uvicorn --host 127.0.0.1 --port {{port}} --loop uvloop --http httptools "
        "--lifespan off --no-access-log --log-level warning --backlog 4096 "
        "--timeout-keep-alive 3600 {app}"
    ),
    # asginl: without lifespan. Granian takes no more requests at once than its backpressure says.
    "granian": (
        f"{PYTHON} -m granian --interface asginl --host 127.0.0.1 --port {{port}} --workers 1 "
        "--no-access-log --log-level warning --backlog 4096 --backpressure 30000 {app}"
    ),
}


def _nothing(peer: Peer, directory: Path, port: int) -> None:
    """Most need no preparation."""


@dataclass(frozen=True, slots=True)
class Peer:
    """``command`` has ``{port}`` and ``{directory}``, ``env`` has ``{directory}``.

    ``prepare`` makes what the server needs in its directory and on its port.
    """

    name: str
    label: str
    command: str
    env: dict[str, str] = field(default_factory=dict)
    each: bool = False
    """One POST an event, with its data, instead of one for many."""
    publish: str = "/publish"
    stream: str = "/stream?channel=%u"
    prepare: Callable[[Peer, Path, int], None] = _nothing
    tidy: Callable[[Peer, Path, int], None] = _nothing
    """Removes what outlives the directory."""
    fill: Callable[[Peer, Path, int], None] | None = None
    """Puts so many events into the log before the server starts."""
    replay: tuple[str, str] = ("/replay?channel=0", "")
    """Path and header of a request for all of a channel."""
    is_logged: bool = False
    """Whether what another process publishes arrives."""

    @property
    def publish_path(self) -> str:
        return f"{self.publish}?channel=" if self.each else self.publish

    def run(self, module: str, directory: Path, *arguments: object) -> None:
        """A Python module in the peer's environment, to its end. Raises ``ServerFailed``."""
        command = [sys.executable, "-m", module, *map(str, arguments)]
        env = {**os.environ, **self.environment(directory)}
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ServerFailed(f"{self.name}: {module} failed\n{done.stderr[-3000:].strip()}")

    def environment(self, directory: Path) -> dict[str, str]:
        return {key: value.format(directory=directory) for key, value in self.env.items()}

    @contextmanager
    def running(self, core: int | None, directory: Path, port: int) -> Iterator[Tree]:
        """The server on a ``directory`` that was prepared for ``port``."""
        command = self.command.format(port=port, directory=directory).split()
        with running(command, port, self.environment(directory), core, ROOT) as tree:
            yield tree


def _configure_nchan(peer: Peer, directory: Path, port: int, buffer: int = 10_000) -> None:
    """``buffer``: the messages it keeps of a channel."""
    module = build.nchan_module()
    if module is None:
        raise SystemExit("nchan: apt-get install nginx libnginx-mod-nchan")
    template = (HERE / "nchan.conf").read_text()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    text = template.format(
        module=module,
        directory=directory,
        port=port,
        files=files,
        connections=files - 100,
        buffer=buffer,
    )
    (directory / "nginx.conf").write_text(text)


def _migrate(peer: Peer, directory: Path, port: int) -> None:
    peer.run("django", directory, "migrate", "--skip-checks", "--verbosity=0")


def _postgres(peer: Peer, directory: Path, port: int) -> None:
    peer.run("benchmarks.site.postgres", directory, "create")
    _migrate(peer, directory, port)


def _drop_postgres(peer: Peer, directory: Path, port: int) -> None:
    peer.run("benchmarks.site.postgres", directory, "drop")


def _eventstream(peer: Peer, directory: Path, port: int) -> None:
    peer.run("benchmarks.peers.eventstream_app", directory, 0)


def _fill_eventstream(peer: Peer, directory: Path, events: int) -> None:
    peer.run("benchmarks.peers.eventstream_app", directory, events)


def _fill_ours(peer: Peer, directory: Path, events: int) -> None:
    peer.run("benchmarks.site.publisher", directory, 1, events, 0)


def _nchan(name: str, label: str, prepare: Callable[[Peer, Path, int], None]) -> Peer:
    nginx = build.find("nginx") or "nginx"
    command = f"{nginx} -p {{directory}} -c {{directory}}/nginx.conf"
    return Peer(name, label, command, each=True, prepare=prepare)


def _python(name: str, label: str, server: str, app: str, **more: Any) -> Peer:
    command = SERVERS[server].replace("{app}", f"benchmarks.{app}:application")
    return Peer(name, label, command, **more)


def _ours(server: str, *, handoff: bool = True) -> Peer:
    name, label = f"ours-{server}", f"django_sse, {server}"
    if not handoff:
        name, label = f"{name}-plain", f"{label}, without the handoff"
    env = {**OURS, "BENCH_LOG": "memory", "BENCH_HANDOFF": str(int(handoff))}
    return _python(name, label, server, "site.asgi", env=env)


def _logged(
    log: str, name: str, label: str, settings: str = "{{}}", server: str = "uvicorn"
) -> Peer:
    """django_sse with a log in a database. ``settings``: JSON, its braces doubled."""
    # Of this run alone: another may be under way.
    own = f"django_sse_bench_{os.getpid()}"
    database = own if log == "postgres" else "{directory}/log.sqlite3"
    return _python(
        name,
        label,
        server,
        "site.asgi",
        env={**OURS, "BENCH_LOG": log, "BENCH_DATABASE": database, "BENCH_SETTINGS": settings},
        prepare=_postgres if log == "postgres" else _migrate,
        tidy=_drop_postgres if log == "postgres" else _nothing,
        fill=_fill_ours,
        is_logged=True,
    )


OURS: Final = {"DJANGO_SETTINGS_MODULE": "benchmarks.site.settings"}
LOGS: Final = {"sqlite": "SQLite", "postgres": "PostgreSQL"}


def _all() -> Iterator[Peer]:
    yield Peer("c", "C, the limit", f"{build.BUILD / 'broadcaster'} {{port}}")
    yield _nchan("nchan", "nchan (nginx)", _configure_nchan)
    yield Peer("better-sse", "better-sse (Node)", f"node {build.NODE / 'server.mjs'} {{port}}")
    yield _python("sse-starlette", "sse-starlette, uvicorn", "uvicorn", "peers.starlette_app")
    yield _python("eventstream", "django-eventstream, uvicorn", "uvicorn", "peers.eventstream_app")
    yield _python(
        "eventstream-sqlite",
        "django-eventstream, uvicorn, SQLite",
        "uvicorn",
        "peers.eventstream_app",
        env={"BENCH_DATABASE": "{directory}/events.sqlite3"},
        prepare=_eventstream,
        fill=_fill_eventstream,
        replay=("/stream?channel=0", "Last-Event-ID: bench-0:0"),
    )
    for server in SERVERS:
        label = f"hand-written view, {server}"
        yield _python(f"hand-{server}", label, server, "peers.queue_view")
    for server in SERVERS:
        yield _ours(server)
        yield _ours(server, handoff=False)
    for log, name in LOGS.items():
        yield _logged(log, f"ours-uvicorn-{log}", f"django_sse, uvicorn, log in {name}")


def _others() -> Iterator[Peer]:
    ring = '{{"LIMITS": {{"RING_EVENTS": 20000, "RING_BYTES": 8388608}}}}'
    yield _logged("sqlite", "ours-ring", "django_sse, uvicorn, SQLite, all in the ring", ring)
    for server in ("daphne", "granian"):
        label = f"django_sse, {server}, log in SQLite"
        yield _logged("sqlite", f"ours-{server}-sqlite", label, server=server)
    # As much of 20 KiB each as a channel's ring holds.
    short = partial(_configure_nchan, buffer=50)
    yield _nchan("nchan-short", "nchan, 50 messages kept", short)


PEERS: Final = {peer.name: peer for peer in _all()}
"""Those that fan out."""
OTHERS: Final = {peer.name: peer for peer in _others()}
"""Set up for one measure."""
