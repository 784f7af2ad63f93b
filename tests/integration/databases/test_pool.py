"""psycopg's pool (``OPTIONS["pool"]``): no thread keeps a connection that others wait for."""

from __future__ import annotations

import pytest

from tests import databases
from tests.integration.many.stores import run_python

# Not in this process: in a test run the library's threads close their connections in any case.
SCRIPT = """
import django
from django.conf import settings
from django.db import connections

django.setup()
config = {**connections.databases["default"], "OPTIONS": {"pool": {"min_size": 0, "max_size": 1}}}
connections.databases["pooled"] = config

def ask():
    with connections["pooled"].cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0]

from django_sse.process.database import DatabaseExecutor

executor = DatabaseExecutor(iterates=True, idle=60.0)
print(executor.submit(ask).result(), ask())
"""


@pytest.mark.needs("postgres")
def test_a_thread_gives_its_connection_back_after_each_call() -> None:
    with databases.fresh(databases.POSTGRES_URL) as url:
        env = {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DJANGO_SSE_TEST_DATABASE_URL": url,
        }
        assert run_python(env, "-c", SCRIPT) == "1 1\n"
