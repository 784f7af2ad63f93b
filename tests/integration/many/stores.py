"""The databases and notifiers that many processes share, each as the environment of a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests import ROOT, databases
from tests.options import environ

OPTIONS = {
    # Clients that are cut come back soon, not in step, and to more than a process has in memory:
    # what they missed is read from the log.
    "RETRY": 200,
    "RETRY_JITTER": 400,
    "RING_EVENTS": 64,
    # Seconds, longer than a test: an event that no wake-up brings is one that a client never gets.
    "SAFETY_INTERVAL": 600,
}


@dataclass(frozen=True, slots=True)
class Store:
    """Where the log is (None: SQLite), and the channel layer that tells of it.

    Without a layer the library chooses. `needs` are requirements.
    """

    name: str
    needs: tuple[str, ...] = ()
    url: str | None = None
    layer: str | None = None


SQLITE = Store("sqlite")
POSTGRES = Store("postgres", ("postgres",), databases.POSTGRES_URL)
MARIADB = Store("mariadb", ("mariadb",), databases.MARIADB_URL)
STORES = [
    SQLITE,
    Store("sqlite-redis-core", ("redis",), None, "channels_redis.core.RedisChannelLayer"),
    POSTGRES,
    Store(
        "postgres-redis-pubsub",
        ("postgres", "redis"),
        databases.POSTGRES_URL,
        "channels_redis.pubsub.RedisPubSubChannelLayer",
    ),
    MARIADB,
]


@contextmanager
def prepared(store: Store, directory: Path) -> Iterator[dict[str, str]]:
    """The environment that leads a process to a new, migrated database of `store`'s."""
    with ExitStack() as stack:
        url = stack.enter_context(databases.fresh(store.url)) if store.url else ""
        env = {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DJANGO_SSE_TEST_DB": str(directory / "db.sqlite3"),
            "DJANGO_SSE_TEST_DATABASE_URL": url,
            **environ(**OPTIONS),
            "DJANGO_SSE_TEST_CHANNEL_LAYERS": json.dumps(_layers(store)),
        }
        run_python(env, "-m", "django", "migrate", "-v0")
        yield env


def _layers(store: Store) -> dict[str, object]:
    if store.layer is None:
        return {}
    # A prefix: of several tests that run at once none may hear another's wake-ups.
    config = {"hosts": [databases.REDIS_URL], "prefix": f"many-{uuid4().hex}"}
    return {"default": {"BACKEND": store.layer, "CONFIG": config}}


def start_python(env: dict[str, str], *args: str) -> subprocess.Popen[str]:
    """A Python of this project with `env` added to the environment, its three streams piped."""
    return subprocess.Popen(
        [sys.executable, *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(env: dict[str, str], *args: str) -> str:
    """What it wrote to stdout, when it has ended well."""
    with start_python(env, *args) as process:
        out, error = process.communicate()
    assert process.returncode == 0, f"{args}: {out}\n{error}"
    return out
