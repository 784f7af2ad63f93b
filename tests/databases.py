"""The services that tests talk to, and databases of their own on them.

`DJANGO_SSE_TEST_POSTGRES_URL`, `DJANGO_SSE_TEST_MARIADB_URL` and `DJANGO_SSE_TEST_REDIS_URL` tell
where they are; by default on their standard ports here, as `compose.yaml` starts them. The user has
to be allowed to make databases.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

POSTGRES_URL = os.environ.get(
    "DJANGO_SSE_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres"
)
MARIADB_URL = os.environ.get("DJANGO_SSE_TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/mysql")
REDIS_URL = os.environ.get("DJANGO_SSE_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")

PORTS = {"postgresql": 5432, "mysql": 3306, "redis": 6379}
# A service on this machine answers at once, or is not there.
_CONNECT_TIMEOUT = 5.0


def answers(url: str) -> bool:
    """Whether something accepts connections where `url` says."""
    parts = urlsplit(url)
    place = (parts.hostname or "127.0.0.1", parts.port or PORTS[parts.scheme])
    try:
        with socket.create_connection(place, timeout=_CONNECT_TIMEOUT):
            return True
    except OSError:
        return False


def config(url: str) -> dict[str, Any]:
    """The entry of `DATABASES` for a `postgresql://` or `mysql://` URL.

    Raises `ValueError` for any other.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "mysql"}:
        raise ValueError(
            f"{url!r} has to look like postgresql://user:password@host:5432/name "
            "or mysql://user:password@host:3306/name"
        )
    found: dict[str, Any] = {
        "ENGINE": f"django.db.backends.{parts.scheme}",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
    }
    if parts.scheme == "mysql":
        use_pymysql()
        # Of the database that Django makes for tests; `fresh` says the same.
        found["TEST"] = {"CHARSET": "utf8mb4"}
    return found


@cache
def use_pymysql() -> None:
    """PyMySQL in the place of mysqlclient, whose version Django asks for: it needs no compiler."""
    import pymysql

    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()


@contextmanager
def fresh(url: str) -> Iterator[str]:
    """An empty database of a new name where `url` is; its URL. Dropped at the end."""
    parts = urlsplit(url)
    name = f"django_sse_test_{uuid4().hex[:12]}"
    if parts.scheme == "postgresql":
        make = f'CREATE DATABASE "{name}" TEMPLATE template0'
        # FORCE: a process that was killed may not be gone yet.
        drop = f'DROP DATABASE "{name}" WITH (FORCE)'
    else:
        make, drop = f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4", f"DROP DATABASE `{name}`"
    execute(url, make)
    try:
        yield parts._replace(path=f"/{name}").geturl()
    finally:
        execute(url, drop)


def execute(url: str, *statements: str) -> None:
    """Run `statements` on a connection of their own, each committed by itself."""
    with _connect(url) as connection, connection.cursor() as cursor:
        for each in statements:
            cursor.execute(each)


def _connect(url: str) -> Any:
    if urlsplit(url).scheme == "postgresql":
        import psycopg

        return psycopg.connect(url, autocommit=True)
    import pymysql

    it = config(url)
    return pymysql.connect(
        host=it["HOST"],
        port=int(it["PORT"] or PORTS["mysql"]),
        user=it["USER"],
        password=it["PASSWORD"],
        database=it["NAME"],
        autocommit=True,
    )


def url_of(database: dict[str, Any]) -> str:
    """The URL for the `config` of a PostgreSQL or MariaDB database: its inverse."""
    scheme = database["ENGINE"].rpartition(".")[2]
    login = quote(database["USER"], safe="")
    if database["PASSWORD"]:
        login += f":{quote(database['PASSWORD'], safe='')}"
    port = f":{database['PORT']}" if database["PORT"] else ""
    return f"{scheme}://{login}@{database['HOST']}{port}/{quote(database['NAME'])}"
