"""How soon another process is heard, and what a wake-up costs: `python -m benchmarks.notifiers`.

A process publishes 200 events at 20/s; a client of a uvicorn in another process takes the time from
before `publish` to the frame. CPU is that of the server and of the publisher, per event, everything
included. Connections to the transport are counted while it runs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import redis

from tests import ROOT
from tests.databases import POSTGRES_URL, fresh
from tests.integration.servers.client import Stream
from tests.servers import Server
from tests.services import RedisServer
from tests.unit.notifiers.publisher import Publisher
from tests.unit.notifiers.support import REDIS_CORE, REDIS_PUBSUB

COUNT = 200
RATE = 20.0
TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def database_env(url: str) -> dict[str, str]:
    """A migrated PostgreSQL database in the place of SQLite."""
    env = {"DJANGO_SSE_TEST_DATABASE_URL": url}
    subprocess.run(
        [sys.executable, "-m", "django", "migrate", "--skip-checks", "-v0"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **env},
        check=True,
    )
    return env


@contextmanager
def running(notifier: str, layer: str, postgres_log: bool) -> Iterator[tuple[Any, ...]]:
    """A server and a publisher, and a count of their connections to the transport."""
    with ExitStack() as stack:
        options: dict[str, Any] = {"NOTIFIER": notifier, "SAFETY_INTERVAL": 3600.0}
        options["ENVIRONMENT"] = uuid4().hex[:8]
        env: dict[str, str] = {}
        counts = lambda: 0  # noqa: E731 - one line each is what they are
        if postgres_log or notifier == "postgres":
            url = stack.enter_context(fresh(POSTGRES_URL))
            if postgres_log:
                env |= database_env(url)
            if notifier == "postgres":
                options["NOTIFIER"] = {"BACKEND": "postgres", "OPTIONS": {"dsn": url}}
                counts = lambda: sessions(url)  # noqa: E731
        if layer:
            server = stack.enter_context(RedisServer())
            config = {"BACKEND": layer, "CONFIG": {"hosts": [f"redis://{server.place}"]}}
            env["DJANGO_SSE_TEST_CHANNEL_LAYERS"] = json.dumps({"default": config})
            client = redis.Redis(port=server.port)
            counts = lambda: len(client.client_list()) - 1  # noqa: E731
        env["DJANGO_SSE_TEST_OPTIONS"] = json.dumps(options)
        serving = stack.enter_context(Server("uvicorn", env=env))
        env["DJANGO_SSE_TEST_DB"] = str(serving.database)
        yield serving, stack.enter_context(Publisher(env)), counts


def sessions(url: str) -> int:
    """Connections of the notifier to this database."""
    name = url.rpartition("/")[2]
    with psycopg.connect(POSTGRES_URL, autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            " AND application_name = 'django_sse'",
            [name],
        ).fetchone()
    assert row is not None
    return int(row[0])


def measure(title: str, notifier: str, layer: str = "", postgres_log: bool = False) -> str:
    """One row of the table."""
    with (
        running(notifier, layer, postgres_log) as (server, publisher, counts),
        Stream(server, "/channels/a/") as stream,
    ):
        stream.next()
        for _ in range(20):
            publisher.publish("a", "NOW")
            stream.next()
        before = cpu(server.pid), cpu(publisher.pid)
        latencies = []
        started = time.monotonic()
        for number in range(COUNT):
            time.sleep(max(0.0, started + number / RATE - time.monotonic()))
            publisher.publish("a", "NOW")
            event = stream.next()
            latencies.append((time.monotonic_ns() - int(event.data)) / 1e6)
        used = cpu(server.pid) - before[0], cpu(publisher.pid) - before[1]
        return (
            f"| {title} | {statistics.median(latencies):.1f} | {max(latencies):.1f} "
            f"| {used[0] / COUNT * 1000:.2f} | {used[1] / COUNT * 1000:.2f} | {counts()} |"
        )


def main() -> None:
    """The whole table, in Markdown."""
    rows = [
        measure("`database`, SQLite", "database"),
        measure("`postgres`, SQLite", "postgres"),
        measure("`channel_layer` Redis core, SQLite", "channel_layer", REDIS_CORE),
        measure("`channel_layer` Redis pubsub, SQLite", "channel_layer", REDIS_PUBSUB),
        measure("`database`, PostgreSQL", "database", postgres_log=True),
        measure("`postgres`, PostgreSQL", "postgres", postgres_log=True),
    ]
    print("| notifier, log | ms median | ms max | CPU ms server | CPU ms publisher | connections |")
    print("|---|--:|--:|--:|--:|--:|")
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
