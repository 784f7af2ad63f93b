"""A Redis and a PostgreSQL of a test's own, which it may kill.

    with RedisServer() as redis:
        redis.kill()      # SIGKILL; those who are connected see their connections end
        redis.start()     # again, empty, on the same port

The services that all tests share (`tests/databases.py`) are never stopped.
"""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.processes import Program, kill_session
from tests.servers import HOST, ReservedPort


def redis_server() -> str | None:
    """The path of Redis' server, if it is installed."""
    return shutil.which("redis-server")


def postgres_programs() -> Path | None:
    """The directory of `initdb` and `postgres`; Debian keeps them off the PATH."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    named = shutil.which("initdb")
    return Path(found[-1]).parent if found else Path(named).parent if named else None


def _children(pid: int) -> list[int]:
    """Of the main thread, which is the only one of these servers that has any (proc(5))."""
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


class Service(ABC):
    """One server process, on a port that stays its own while it is down."""

    def __init__(self) -> None:
        self._reservation = ReservedPort()
        self.port = self._reservation.number
        self.directory = Path(tempfile.mkdtemp(prefix="django-sse-service-"))
        self._program = Program(self.directory / "output.log")

    def __enter__(self) -> Self:
        try:
            self.prepare()
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        self.kill()
        self._reservation.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    @abstractmethod
    def prepare(self) -> None:
        """Once, before the first start."""

    @abstractmethod
    def command(self) -> list[str]:
        """What runs in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether a client is served by now."""

    @property
    def place(self) -> str:
        return f"{HOST}:{self.port}"

    def start(self) -> Self:
        """Returns when it serves."""
        self._program.start(self.command(), self.answers, **self.credentials())
        return self

    def kill(self) -> None:
        """SIGKILL to all of its processes: a crash."""
        children = _children(self._program.pid) if self._program.running else []
        self._program.kill()
        for pid in children:
            # PostgreSQL's are in sessions of their own; they end by themselves, a little later.
            kill_session(pid)

    def credentials(self) -> dict[str, Any]:
        """As whom it runs."""
        return {}


class RedisServer(Service):
    """Keeps nothing: after a kill it is empty."""

    def prepare(self) -> None:
        """Nothing."""

    def command(self) -> list[str]:
        program = redis_server()
        assert program is not None
        options = {"port": self.port, "bind": HOST, "save": "", "appendonly": "no"}
        options["dir"] = str(self.directory)
        return [
            program,
            *(part for key, value in options.items() for part in (f"--{key}", f"{value}")),
        ]

    def answers(self) -> bool:
        with (
            suppress(OSError),
            socket.create_connection((HOST, self.port), timeout=5) as connection,
        ):
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


class PostgresServer(Service):
    """A cluster of its own, superuser `postgres`, without a password; it recovers from a kill."""

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.place}/postgres"

    def credentials(self) -> dict[str, Any]:
        if os.geteuid():
            return {}
        # PostgreSQL refuses to run as root.
        user = pwd.getpwnam("postgres")
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _path_of(self, name: str) -> str:
        programs = postgres_programs()
        assert programs is not None
        return str(programs / name)

    def prepare(self) -> None:
        if credentials := self.credentials():
            os.chown(self.directory, credentials["user"], credentials["group"])
        options = [
            "--auth=trust",
            "--username=postgres",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
        ]
        subprocess.run(
            [self._path_of("initdb"), f"--pgdata={self.directory / 'data'}", *options],
            check=True,
            capture_output=True,
            cwd="/",
            **self.credentials(),
        )

    def command(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": HOST,
            "unix_socket_directories": str(self.directory),
            "shared_buffers": "16MB",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [self._path_of("postgres"), "-D", str(self.directory / "data"), *options]

    def answers(self) -> bool:
        import psycopg

        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url, connect_timeout=5).close()
            return True
        return False
