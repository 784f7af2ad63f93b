"""Real servers for tests: a process of its own, on loopback, with a database of its own.

    with Server("uvicorn") as server:
        httpx.get(f"{server.url}/ok/")
        assert server.stop().returncode == 0

All calls block; from a running event loop use `await asyncio.to_thread(server.stop)`.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Self

from tests import ROOT
from tests.processes import (
    OpenFile,
    kill_session,
    open_files,
    session_members,
    thread_count,
    watchdog,
)
from tests.settings import scratch_directory

HOST = "127.0.0.1"
ATTEMPTS = 3
START_TIMEOUT = 90.0
STOP_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Site:
    """A Django project to serve; `ready_path` is answered once it is up."""

    settings: str
    package: str
    database_variable: str
    ready_path: str


TEST_SITE = Site("tests.settings", "tests.project", "DJANGO_SSE_TEST_DB", "/ok/")
DEMO_SITE = Site("demo_project.settings", "demo_project", "DEMO_DB", "/")


@dataclass(frozen=True, slots=True)
class Kind:
    """How one server is started: python's arguments, with {host}, {port}, {asgi} and {wsgi}."""

    command: str
    needs: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


_UVICORN = "-m uvicorn --host {host} --port {port} --no-access-log --loop"
# The control socket would be one file in the home directory for all servers at once.
_GUNICORN = "-m gunicorn --no-control-socket --bind {host}:{port} --workers 1"
KINDS: dict[str, Kind] = {
    "daphne": Kind("-m daphne --bind {host} --port {port} {asgi}", ("daphne",)),
    "uvicorn": Kind(f"{_UVICORN} uvloop {{asgi}}", ("uvicorn", "uvloop")),
    # As without uvloop and httptools, which the other one takes where it is installed.
    "uvicorn-asyncio": Kind(f"{_UVICORN} asyncio --http h11 {{asgi}}", ("uvicorn",)),
    # asginl: ASGI without the lifespan protocol, which Django does not speak.
    "granian": Kind(
        "-m granian --interface asginl --host {host} --port {port} --workers 1 {asgi}", ("granian",)
    ),
    "hypercorn": Kind("-m hypercorn --bind {host}:{port} {asgi}", ("hypercorn",)),
    # Without TLS on its own port; `args` add another with it, and a certificate.
    "hypercorn-tls": Kind("-m hypercorn --insecure-bind {host}:{port} {asgi}", ("hypercorn",)),
    "gunicorn-gthread": Kind(
        f"{_GUNICORN} --worker-class gthread --threads 24 {{wsgi}}", ("gunicorn",)
    ),
    "gunicorn-gevent": Kind(f"{_GUNICORN} --worker-class gevent {{wsgi}}", ("gunicorn", "gevent")),
    "granian-wsgi": Kind(
        "-m granian --interface wsgi --blocking-threads 64 --host {host} --port {port} --workers 1"
        " {wsgi}",
        ("granian",),
    ),
    "gunicorn-asgi": Kind(f"{_GUNICORN} --worker-class asgi {{asgi}}", ("gunicorn",)),
    "runserver-daphne": Kind(
        "manage.py runserver --noreload {host}:{port}", ("daphne",), {"DJANGO_SSE_TEST_DAPHNE": "1"}
    ),
    # Of a site with daphne in INSTALLED_APPS whatever the environment says: add args=["--noasgi"].
    "runserver-wsgi": Kind(
        "manage.py runserver --noreload {host}:{port}", env={"DJANGO_SSE_TEST_DAPHNE": "0"}
    ),
}
ASGI_KINDS = ("daphne", "uvicorn", "uvicorn-asyncio", "granian", "hypercorn", "gunicorn-asgi")
IN_DJANGO = "-in-django"
# The same without the handoff: the stream stays inside Django's own application.
KINDS |= {
    f"{kind}{IN_DJANGO}": replace(
        KINDS[kind], env=KINDS[kind].env | {"DJANGO_SSE_TEST_HANDOFF": "0"}
    )
    for kind in (*ASGI_KINDS, "runserver-daphne")
}
WSGI_KINDS = ("gunicorn-gthread", "runserver-wsgi")


class ServerFailed(AssertionError):
    """The server did not start or did not answer; the message ends with what it wrote."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """How a server ended. `killed`: it ignored the signal for the whole time-out and got SIGKILL.

    `left_over`: how many of its processes outlived the main one and had to be killed.
    """

    returncode: int
    seconds: float
    killed: bool
    left_over: int


class ReservedPort:
    """A free port on loopback that stays ours while the server starts, stops and starts again.

    The socket is bound and never listens: the kernel gives its port to nobody who asks for any
    port, as server or as client, while a server that sets SO_REUSEADDR (all of them) can bind it.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((HOST, 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()


class Server:
    """One server process (with its workers), from start to stop; can be started again.

    `kind` is a key of `KINDS`; `args` go to the end of its command line; `database` is the SQLite
    file to use (default: a fresh, migrated one); `env` is added to the environment.
    """

    def __init__(
        self,
        kind: str,
        *,
        site: Site = TEST_SITE,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        database: Path | None = None,
    ) -> None:
        self.kind, self.site, self._args, self._env = kind, site, tuple(args), dict(env or {})
        self._spec = KINDS[kind]
        self._directory = Path(tempfile.mkdtemp(prefix=f"django-sse-{kind}-"))
        self._log = self._directory / "output.log"
        self._given, self.database = database, database or self._directory / "db.sqlite3"
        self._port = ReservedPort()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = True
        self._output = ""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *error: object) -> None:
        self.close()
        # pytest shows it with a test that failed, and with no other.
        print(f"--- {self.kind} wrote:\n{self._output}")

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The main process. Raises `RuntimeError` before the first start."""
        if self._process is None:
            raise RuntimeError("The server was never started: use `with Server(...)` or start().")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """All that it wrote so far, stdout and stderr together."""
        if self._log.exists():
            self._output = self._log.read_text(errors="replace")
        return self._output

    def start(self, timeout: float = START_TIMEOUT) -> Self:
        """Returns when it answers. Raises `ServerFailed`, with its output, if it never does."""
        if self.running:
            raise RuntimeError("The server is running: stop() it first.")
        if self._given is None and not self.database.exists():
            _copy_database(migrated_database(self.site), self.database)
        for last in [False] * (ATTEMPTS - 1) + [True]:
            self._spawn()
            try:
                self._wait_until_ready(timeout)
            except ServerFailed:
                self.kill()
                if last or "in use" not in self.output().lower():
                    raise
                # A server that does not share its port with the reservation, or a stranger on it.
                self._port.close()
                self._port = ReservedPort()
            else:
                break
        return self

    def _spawn(self) -> None:
        names = {"host": HOST, "port": self.port}
        apps = {name: f"{self.site.package}.{name}:application" for name in ("asgi", "wsgi")}
        command = self._spec.command.format(**names, **apps).split()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command, *self._args],
                cwd=ROOT,
                env=_environment(self.site, self.database) | self._spec.env | self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A session of its own: its members are the server and its workers, and nobody else.
                start_new_session=True,
            )
        self._ended = False
        watchdog().watch(self.pid)

    def _wait_until_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self.answers():
            # The wait for the process is the pause between two attempts.
            with suppress(subprocess.TimeoutExpired):
                code = self.process.wait(timeout=0.05)
                raise ServerFailed(f"{self.kind} ended with {code}:\n{self.output()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.kind}: no answer in {timeout} s:\n{self.output()}")

    def answers(self) -> bool:
        """Whether it is up."""
        with closing(http.client.HTTPConnection(HOST, self.port, timeout=10)) as connection:
            try:
                connection.request("GET", self.site.ready_path, headers={"Connection": "close"})
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                return False
        return True

    def stop(
        self,
        signum: int = signal.SIGTERM,
        timeout: float = STOP_TIMEOUT,
        *,
        whole_group: bool = False,
    ) -> Stopped:
        """Signals the main process, as an operator would, and waits; after `timeout` s: SIGKILL.

        `whole_group`: signals all its processes, as a terminal does for Ctrl-C.
        """
        started = time.monotonic()
        if whole_group:
            os.killpg(self.pid, signum)
        else:
            self.send_signal(signum)
        killed = False
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            killed = True
            print(f"{self.kind} still ran {timeout} s after {signal.strsignal(signum)}: SIGKILL")
            self.process.kill()
        code = self.process.wait()
        seconds = time.monotonic() - started
        return Stopped(code, seconds, killed, self._kill_all())

    def kill(self) -> None:
        """SIGKILL to the server and all its workers at once: a crash."""
        if self._process is not None:
            self._kill_all()
            self._process.wait()

    def _kill_all(self) -> int:
        if self._ended:
            # By now the number may be a stranger's.
            return 0
        killed = kill_session(self.pid)
        self._ended = True
        watchdog().release(self.pid)
        return killed

    def send_signal(self, signum: int) -> None:
        """To the main process; a process that is gone is no error."""
        self.process.send_signal(signum)

    def close(self) -> None:
        """Kills what runs and removes the files; the output stays readable."""
        self.kill()
        self.output()
        self._port.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def pids(self) -> list[int]:
        """The living processes of the server: the main one and its workers."""
        return sorted(session_members(self.pid))

    def thread_count(self) -> int:
        """Threads of all its processes."""
        return sum(map(thread_count, self.pids()))

    def open_files(self) -> list[OpenFile]:
        """Open file descriptors of all its processes."""
        return [found for pid in self.pids() for found in open_files(pid)]

    def database_handles(self) -> int:
        """How many times its processes have the SQLite file open: one for each connection."""
        path = os.path.realpath(self.database)
        return sum(found.target == path for found in self.open_files())


@cache
def migrated_database(site: Site) -> Path:
    """An SQLite file with the site's tables, made once a process; copy it, do not write to it."""
    path = scratch_directory() / "migrated.sqlite3"
    command = [sys.executable, "-m", "django", "migrate", "--skip-checks", "-v0"]
    done = subprocess.run(
        command, cwd=ROOT, env=_environment(site, path), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServerFailed(f"migrate of {site.settings} failed:\n{done.stdout}{done.stderr}")
    return path


def _copy_database(source: Path, target: Path) -> None:
    # SQLite's own copy: what still stands in the write-ahead log comes along.
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _environment(site: Site, database: Path) -> dict[str, str]:
    return {
        **os.environ,
        # A server has its own file whatever the suite runs on; `env` may name another database.
        "DJANGO_SSE_TEST_DATABASE_URL": "",
        "DJANGO_SETTINGS_MODULE": site.settings,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        site.database_variable: str(database),
    }
