"""What many idle streams cost: memory, and neither threads nor database connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests import FULL
from tests.integration.servers.client import Stream
from tests.looking import eventually, until_free_of_database
from tests.options import environ
from tests.servers import TEST_SITE, Server, Site

PERSISTENT = Site(
    "tests.project.persistent_settings", "tests.project", "DJANGO_SSE_TEST_DB", "/ok/"
)
MANY = 500 if FULL else 200
SOME = 20
# The library's readers and its look at SQLite's data_version, and a request's own thread.
SHARED_THREADS = 5
# Of SQLite a process that streams channels holds one connection; the file of a reader's stays open
# with it (SQLite cannot close a file while another connection of its process has a lock on it).
SHARED_HANDLES = 3

Serve = Callable[..., Server]


@contextmanager
def streams(server: Server, path: str, count: int) -> Iterator[list[Stream]]:
    """So many open streams, each past its first event."""
    with ExitStack() as stack:
        opened = [stack.enter_context(Stream(server, path)) for _ in range(count)]
        for stream in opened:
            stream.next()
        yield opened


def assert_free(server: Server, threads: int, handles: int) -> None:
    until_free_of_database(server, handles)
    eventually(lambda: server.thread_count() <= threads, server.thread_count)


def serve_with(serve: Serve, kind: str, site: Site = TEST_SITE) -> Server:
    return serve(kind, site=site, env=environ(HEARTBEAT=10.0, THREAD_IDLE=0.5))


@pytest.mark.parametrize("kind", ["uvicorn", "daphne"] if FULL else ["daphne"])
def test_many_idle_streams_of_views_that_used_the_orm_and_the_session(
    kind: str, serve: Serve
) -> None:
    server = serve_with(serve, kind)
    threads = server.thread_count() + SHARED_THREADS
    with streams(server, "/uses_orm/", MANY):
        assert_free(server, threads, 0)
    with streams(server, "/channels_with_orm/a/", MANY) as opened:
        assert_free(server, threads, SHARED_HANDLES)
        # All of them are alive.
        with Stream(server, "/publish/a/", method="POST", data=b"news") as publisher:
            assert publisher.status == 200
        assert {stream.next().data for stream in opened} == {"news"}


@pytest.mark.parametrize(
    "kind", ["uvicorn", "daphne", "granian", "hypercorn"] if FULL else ["uvicorn"]
)
def test_the_same_with_persistent_connections_and_a_middleware_in_a_thread(
    kind: str, serve: Serve
) -> None:
    server = serve_with(serve, kind, PERSISTENT)
    threads = server.thread_count() + SHARED_THREADS
    with streams(server, "/uses_orm/", SOME), streams(server, "/sync_orm/", SOME):
        assert_free(server, threads, 0)
    with (
        streams(server, "/channels_with_orm/a/", SOME),
        streams(server, "/channels_sync/a/", SOME),
    ):
        assert_free(server, threads, SHARED_HANDLES)


def test_under_wsgi_a_stream_holds_its_thread_but_no_connection(serve: Serve) -> None:
    server = serve_with(serve, "gunicorn-gthread", PERSISTENT)
    with streams(server, "/uses_orm/", 7), streams(server, "/sync_orm/", 7):
        until_free_of_database(server)
