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

"""
IN_A_THREAD = """
from django_sse.process.database import DatabaseExecutor

executor = DatabaseExecutor(iterates=True, idle=60.0)
print(executor.submit(ask).result(), ask())
"""
IN_A_GENERATOR = """
import threading
from django_sse.streams.thread_producer import ThreadProducer

waits, go_on, ended = threading.Event(), threading.Event(), threading.Event()

def answer():
    yield ask()
    yield "it waits"
    go_on.wait(60)
    yield ask()

class Sink:
    closed = full = False
    owner = ""
    got = []
    def put(self, item):
        self.got.append(item)
        if item == "it waits":
            waits.set()
    def complete(self, error=None):
        ended.set()

ThreadProducer(Sink(), answer())
waits.wait(60)
other = ask()
connections["pooled"].close()
go_on.set()
ended.wait(60)
assert Sink.got == [1, "it waits", 1], Sink.got
print(1, other)
"""


@pytest.mark.parametrize("where", [IN_A_THREAD, IN_A_GENERATOR], ids=["thread", "generator"])
@pytest.mark.needs("postgres")
def test_no_thread_keeps_a_connection_between_two_calls_or_items(where: str) -> None:
    with databases.fresh(databases.POSTGRES_URL) as url:
        env = {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DJANGO_SSE_TEST_DATABASE_URL": url,
        }
        assert run_python(env, "-c", SCRIPT + where) == "1 1\n"
