"""A process that is full and a log that is away: clients are told to come back, and can."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from tests.integration.servers.client import Stream, get
from tests.integration.servers.kinds import every_kind, on
from tests.integration.servers.notes import Notes
from tests.looking import eventually, until_free_of_database
from tests.servers import Server

OPTIONS = {"SYNC_GENERATORS": 1, "THREAD_IDLE": 0.05, "TOPIC_LINGER": 0.05}
EVENT_SOURCE = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}


def assert_sent_away(server: Server, path: str) -> None:
    """An EventSource never comes back after an error; everyone else wants one."""
    with Stream(server, path, headers=EVENT_SOURCE) as stream:
        assert stream.status == 200
        assert stream.header("Content-Type") == "text/event-stream; charset=utf-8"
        assert stream.header("Cache-Control") == "no-store"
        assert [(event.type, event.data) for event in stream] == [("stream-retry", "{}")]
        assert stream.retry is not None and 3000 <= stream.retry <= 7000
        assert stream.body.startswith(b"retry: ")
    for headers in ({}, {"Accept": "*/*"}):
        assert_refused(server, path, headers=headers)


def assert_refused(server: Server, path: str, **options: Any) -> None:
    with Stream(server, path, **options) as stream:
        assert stream.status == 503
        assert stream.header("Retry-After") == "3"
        assert stream.header("Cache-Control") == "no-store"
        assert stream.read() == b"The event stream is not available right now. Try again later."


# -- overload


@every_kind
def test_one_sync_generator_too_many_is_sent_away_until_another_ends(
    server: Server, notes: Notes, name: str
) -> None:
    path = f"/streams/ticking_sync/?name={name}"
    with Stream(server, path) as first:
        assert first.next().data == "tick"
        assert_sent_away(server, "/streams/position_sync/")
        assert_refused(server, "/streams/position_sync/", method="POST", headers=EVENT_SOURCE)
        # By hand, the headers were out before it was known.
        with Stream(server, "/plain_response_sync/") as plain:
            assert [event.type for event in plain] == ["stream-retry"]
        # What needs no thread is not affected, nor is the one that streams.
        assert get(server, "/forms/async_generator/", method="HEAD")[0] == 200
        with Stream(server, "/async_function/") as another:
            assert [event.data for event in another] == ["first", "second", "[DONE]"]
        assert first.next().data == "tick"
    notes.wait_for(name)
    # Its thread ends right behind its `finally`.
    eventually(
        lambda: get(server, "/streams/position_sync/")[0] == 200,
        lambda: "the place of a generator that has ended is not free",
    )


# -- a log that is away


@contextmanager
def table_away(server: Server) -> Iterator[None]:
    """The log's database answers, but not for the log."""
    with closing(sqlite3.connect(server.database, timeout=60)) as database:
        database.execute("ALTER TABLE django_sse_channel RENAME TO away")
        try:
            yield
        finally:
            database.execute("ALTER TABLE away RENAME TO django_sse_channel")


@contextmanager
def file_away(server: Server) -> Iterator[None]:
    """The log's database cannot be opened."""
    # A connection that is open would not notice.
    until_free_of_database(server)
    path = server.database
    hidden = path.with_name("hidden.sqlite3")
    path.rename(hidden)
    path.mkdir()
    try:
        yield
    finally:
        path.rmdir()
        hidden.rename(path)


def assert_it_streams(server: Server, path: str, channel: str) -> None:
    with Stream(server, path, headers=EVENT_SOURCE) as stream:
        assert stream.next().type == "stream-open"
        assert get(server, f"/publish/{channel}/", method="POST", data=b"news")[0] == 200
        assert stream.next().data == "news"


@every_kind
@pytest.mark.parametrize("view", ["channels", "channels_sync"])
def test_a_log_that_is_away_sends_away_and_is_back_when_it_is_back(
    server: Server, name: str, view: str
) -> None:
    path = f"/{view}/{name}/"
    with table_away(server):
        assert_sent_away(server, path)
        status, body = get(server, f"/publish/{name}/", method="POST", data=b"lost")
        assert status == 500
        assert b"django_sse" not in body and b"Traceback" not in body
    assert_it_streams(server, path, name)
    if not server.kind.startswith("runserver"):
        # (runserver itself has looked at the migrations and leaves a connection open.)
        until_free_of_database(server)


@on("uvicorn", "gunicorn-gthread")
def test_a_database_that_cannot_be_opened_is_the_same(server: Server, name: str) -> None:
    path = f"/channels/{name}/"
    with file_away(server):
        assert_sent_away(server, path)
    assert_it_streams(server, path, name)


@on("uvicorn", "daphne", "gunicorn-gthread")
def test_a_stream_that_is_open_waits_for_its_log(server: Server, name: str) -> None:
    with Stream(server, f"/channels/{name}/") as stream:
        assert stream.next().type == "stream-open"
        get(server, f"/publish/{name}/", method="POST", data=b"before")
        assert stream.next().data == "before"
        with table_away(server):
            assert get(server, f"/publish/{name}/", method="POST", data=b"lost")[0] == 500
            heartbeats = stream.body.count(b":\n")
            stream.read_until(lambda body: body.count(b":\n") >= heartbeats + 3)
        get(server, f"/publish/{name}/", method="POST", data=b"after")
        event = stream.next()
        assert (event.type, event.data) == ("message", "after")
