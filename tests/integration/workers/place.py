"""The processes of the site: the web server, workers of each kind, commands."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx

from tests import ROOT
from tests.integration.many.stores import run_python
from tests.integration.servers.client import Stream
from tests.integration.workers.gates import DIRECTORY
from tests.options import environ
from tests.processes import Program
from tests.servers import Server, Site

PACKAGE = "tests.integration.workers"
SITE = Site(f"{PACKAGE}.settings", PACKAGE, "DJANGO_SSE_TEST_DB", "/ok/")
# The safety poll is as good as off: what a client hears, a worker's wake-up has told.
OPTIONS = {"SAFETY_INTERVAL": 3600.0, "HEARTBEAT": 1.0}

_CELERY = "-m celery -A tests.integration.workers.celery worker --loglevel INFO --hostname test@%h"
_QUIET = "--without-gossip --without-mingle --without-heartbeat"
# Command line, and what it writes when it takes work.
WORKERS = {
    "prefork": (f"{_CELERY} {_QUIET} --pool prefork --concurrency 1", " ready."),
    "gevent": (f"{_CELERY} {_QUIET} --pool gevent --concurrency 20", " ready."),
    "threads": (f"{_CELERY} {_QUIET} --pool threads --concurrency 4", " ready."),
    "one-task": (
        f"{_CELERY} {_QUIET} --pool prefork --concurrency 1 --max-tasks-per-child 1",
        " ready.",
    ),
    "tasks": (
        "-m django db_worker --interval 0.05 --no-startup-delay --no-reload",
        "Starting worker",
    ),
}


class Place:
    """One site: its database, its broker, its processes.

    Workers of one kind at a time: they share a queue.
    """

    def __init__(self, directory: Path, broker: str, database_url: str) -> None:
        self.directory = directory
        self.env = {
            "DJANGO_SETTINGS_MODULE": SITE.settings,
            "DJANGO_SSE_TEST_DB": str(directory / "db.sqlite3"),
            "DJANGO_SSE_TEST_DATABASE_URL": database_url,
            **environ(**OPTIONS),
            "DJANGO_SSE_TEST_BROKER": broker,
            DIRECTORY: str(directory),
            "PYTHONUNBUFFERED": "1",
        }
        self._stack = ExitStack()
        self._workers: dict[str, Program] = {}
        self._count = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._kill_workers)
            self.run("migrate", "-v0", "--skip-checks")
            database = Path(self.env["DJANGO_SSE_TEST_DB"])
            self.server = stack.enter_context(
                Server("uvicorn", site=SITE, env=self.env, database=database)
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def run(self, *args: str) -> str:
        """A management command, to its end; what it wrote."""
        return run_python(self.env, "-m", "django", *args)

    def start(self, command: str, ready: str | None = None, **env: str) -> Program:
        """A Python in the background, when it has written `ready`."""
        self._count += 1
        program = Program(self.directory / f"output-{self._count}.log")
        self._stack.callback(self._end, program, command)
        program.start(
            [sys.executable, *command.split()],
            lambda: ready is None or ready in program.output(),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.env, **env},
        )
        return program

    def _end(self, program: Program, command: str) -> None:
        program.kill()
        # pytest shows it with a test that failed, and with no other.
        print(f"--- {command} wrote:\n{program.output()}")

    def worker(self, kind: str, **env: str) -> Program:
        """The one of its kind, which alone takes work; started unless it runs.

        With `env` it is another one than before.
        """
        found = self._workers.get(kind)
        if env or found is None or not found.running:
            self._kill_workers()
            found = self._workers[kind] = self.start(*WORKERS[kind], **env)
        return found

    def _kill_workers(self) -> None:
        for program in self._workers.values():
            program.kill()
        self._workers.clear()


class Visitor:
    """A user of the site, signed in."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._client = httpx.Client(base_url=place.server.url, trust_env=False, timeout=60)
        self._token = self._client.get("/enter/").raise_for_status().json()["token"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def post(self, path: str) -> Any:
        headers = {"X-CSRFToken": self._token}
        return self._client.post(path, headers=headers).raise_for_status().json()

    def stream(self, path: str, last_event_id: str | None = None) -> Stream:
        cookies = "; ".join(f"{name}={value}" for name, value in self._client.cookies.items())
        headers = {"Cookie": cookies}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        return Stream(self._place.server, path, headers=headers)
