from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import pytest

from tests import databases
from tests.databases import answers, config, execute, fresh, url_of
from tests.requirements import ROOT

on_each_service = pytest.mark.parametrize(
    "url",
    [
        pytest.param(databases.POSTGRES_URL, marks=pytest.mark.needs("postgres"), id="postgres"),
        pytest.param(databases.MARIADB_URL, marks=pytest.mark.needs("mariadb"), id="mariadb"),
    ],
)


def test_a_url_becomes_what_django_is_configured_with() -> None:
    found = config("postgresql://a%40b:p%3Aw%2F@db.example:6543/na%20me")
    assert found == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "na me",
        "USER": "a@b",
        "PASSWORD": "p:w/",
        "HOST": "db.example",
        "PORT": "6543",
    }
    assert config("mysql://root@127.0.0.1/name")["ENGINE"] == "django.db.backends.mysql"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://a%40b:p%3Aw%2F@db.example:6543/na%20me",
        "postgresql://me@127.0.0.1/name",
        "mysql://root@127.0.0.1:3306/name",
    ],
)
def test_and_back(url: str) -> None:
    assert url_of(config(url)) == url


@pytest.mark.parametrize("url", ["sqlite:///x", "postgres://me@host/name", "name", ""])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://user"):
        config(url)


def test_a_service_answers_or_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        assert answers(url)
    assert not answers(url)


CODE = """
import django
django.setup()
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT name FROM greeting")
    print(connection.vendor, cursor.fetchone()[0])
"""


@on_each_service
def test_a_fresh_database_is_empty_used_by_the_settings_and_dropped(url: str) -> None:
    with fresh(url) as own:
        execute(own, "CREATE TABLE greeting (name VARCHAR(9))", "INSERT INTO greeting VALUES ('é')")
        with fresh(url) as another:
            assert another != own
            execute(another, "CREATE TABLE greeting (name VARCHAR(9))")
        env = {"DJANGO_SETTINGS_MODULE": "tests.settings", "DJANGO_SSE_TEST_DATABASE_URL": own}
        done = subprocess.run(
            [sys.executable, "-c", CODE],
            cwd=ROOT,
            env={**os.environ, **env, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.stdout == f"{config(own)['ENGINE'].rpartition('.')[2]} é\n", done.stderr
    with pytest.raises(_unknown_database(url)):
        execute(own, "SELECT 1")


def _unknown_database(url: str) -> Any:
    if url.startswith("postgresql"):
        import psycopg

        return psycopg.OperationalError
    import pymysql

    # Not pymysql.err: as MySQLdb its modules are imported once more.
    return pymysql.OperationalError
