"""A database that for a while reads but does not write: publishers are told, streams stay."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests import ROOT, databases
from tests.integration.servers.client import Stream, get
from tests.requirements import require
from tests.servers import Server

HEARTBEAT = b"\n:\n"

# PostgreSQL's and MariaDB's own errors for a read-only transaction, at every write to the log.
_TABLES = ("django_sse_channel", "django_sse_storedevent", "django_sse_outboxevent")
_REFUSE = {
    "postgres": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'read-only' USING ERRCODE = 'read_only_sql_transaction'; END $$",
        *(
            f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON {table} "
            "EXECUTE FUNCTION refuse()"
            for table in _TABLES
        ),
    ],
    "mariadb": [
        f"CREATE TRIGGER refuse_{action}_{table} BEFORE {action} ON {table} FOR EACH ROW "
        "SIGNAL SQLSTATE '25006' SET MYSQL_ERRNO = 1792, MESSAGE_TEXT = 'read-only'"
        for table in _TABLES
        for action in ("INSERT", "UPDATE", "DELETE")
    ],
}
_ALLOW = {
    "postgres": ["DROP FUNCTION refuse CASCADE"],
    "mariadb": [
        f"DROP TRIGGER refuse_{action}_{table}"
        for table in _TABLES
        for action in ("INSERT", "UPDATE", "DELETE")
    ],
}


@contextmanager
def no_file_grows(server: Server) -> Iterator[None]:
    """As a disk that is full: the server's processes can write to no file."""
    pids = server.pids()
    before = [resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids]
    for pid, (_, hard) in zip(pids, before, strict=True):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for pid, limits in zip(pids, before, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def refusing(name: str, url: str) -> Iterator[None]:
    databases.execute(url, *_REFUSE[name])
    try:
        yield
    finally:
        databases.execute(url, *_ALLOW[name])


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def running(
    request: pytest.FixtureRequest, serve: Callable[..., Server]
) -> Iterator[tuple[Server, Callable[[], AbstractContextManager[None]]]]:
    """A server on each database, and what makes that refuse to be written to."""
    name: str = request.param
    if name == "sqlite":
        server = serve("uvicorn")
        yield server, lambda: no_file_grows(server)
        return
    require(name)
    service = databases.POSTGRES_URL if name == "postgres" else databases.MARIADB_URL
    with databases.fresh(service) as url:
        env = {"DJANGO_SSE_TEST_DATABASE_URL": url}
        migrate(env)
        server = serve("uvicorn", env=env)
        yield server, lambda: refusing(name, url)
        server.stop()


def migrate(env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "django", "migrate", "--skip-checks", "-v0"]
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **env}
    subprocess.run(command, cwd=ROOT, env=env, check=True)


def publish(server: Server, view: str, data: str) -> int:
    return get(server, f"/{view}/c/", method="POST", data=data.encode())[0]


def test_streams_stay_open_and_go_on_when_the_database_can_be_written_to_again(
    running: tuple[Server, Callable[[], AbstractContextManager[None]]],
) -> None:
    server, refusing = running
    assert publish(server, "publish", "1") == 200
    with Stream(server, "/channels/c/") as first:
        assert first.next().type == "stream-open"
        assert publish(server, "apublish", "2") == 200
        assert first.next().data == "2"
        with refusing():
            assert publish(server, "publish", "never") == 500
            assert publish(server, "apublish", "never") == 500
            # It is alive, and so is the hub: a beat comes after the refusals.
            beats = first.body.count(HEARTBEAT)
            first.read_until(lambda body: body.count(HEARTBEAT) > beats)
            # A channel that is there can be subscribed to, from its position and from the start.
            with Stream(server, "/channels/c/?since=earliest") as second:
                opening, *replayed = second.take(3)
                assert opening.type == "stream-open"
                assert [each.data for each in replayed] == ["1", "2"]
        assert publish(server, "apublish", "3") == 200
        assert publish(server, "publish", "4") == 200
        assert [each.data for each in first.take(2)] == ["3", "4"]
        assert not first.ended
