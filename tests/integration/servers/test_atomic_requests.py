"""Sync views inside ATOMIC_REQUESTS: Django's transaction ends before the stream begins."""

from __future__ import annotations

import pytest

from tests.integration.servers.client import Stream, get
from tests.integration.servers.kinds import on
from tests.servers import Server, Site

SITE = Site("tests.project.atomic_settings", "tests.project", "DJANGO_SSE_TEST_DB", "/ok/")
# What waits for the transaction's end here does not get it before its own time-out.
OPTIONS = {"OPEN_TIMEOUT": 30.0}

some_kinds = on("uvicorn", "daphne", "gunicorn-gthread", "runserver-wsgi")


@some_kinds
@pytest.mark.parametrize(
    "form",
    [
        "sync_generator",
        "sync_function",
        "sync_function_of_async",
        "direct_sync_method",
        "decorated_sync_method",
        "plain_sync",
    ],
)
def test_an_event_is_there_before_the_next_one_is_made(
    server: Server, form: str, name: str
) -> None:
    with Stream(server, f"/forms/{form}/?name={name}") as stream:
        for number in range(3):
            assert stream.next().data == f'{{"step":{number}}}'
            get(server, f"/open_gate/{name}/")
        assert [event.type for event in stream] == ["close"]


@some_kinds
def test_not_found_stays_not_found(server: Server) -> None:
    assert get(server, "/fails_sync/?error=404")[0] == 404


@some_kinds
@pytest.mark.parametrize("view", ["writes_then_streams", "writes_then_streams_async"])
def test_a_generator_sees_what_its_view_has_written(server: Server, name: str, view: str) -> None:
    with Stream(server, f"/streams/{view}/?name={name}") as stream:
        assert stream.next().data == '{"count":1}'


@some_kinds
def test_a_generator_may_write_while_others_do(server: Server, name: str) -> None:
    with Stream(server, f"/streams/streams_then_writes/?name={name}") as stream:
        assert stream.next().data == '{"count":0}'
        assert get(server, f"/publish/{name}/", method="POST", data=b"meanwhile")[0] == 200
        get(server, f"/open_gate/{name}/")
        assert stream.next().data == '{"count":1}'


@some_kinds
def test_a_channel_streams_what_is_published_in_transactions(server: Server, name: str) -> None:
    with Stream(server, f"/channels_sync/{name}/") as stream:
        assert stream.next().type == "stream-open"
        # Inside a transaction there is no id yet.
        published = get(server, f"/publish/{name}/", method="POST", data=b"news")
        assert published == (200, b'{"id": null}')
        event = stream.next()
        assert event.data == "news"
    get(server, f"/publish/{name}/", method="POST", data=b"missed")
    headers = {"Last-Event-ID": event.last_event_id}
    with Stream(server, f"/channels_sync/{name}/", headers=headers) as stream:
        assert [event.data for event in stream.take(2)] == ["{}", "missed"]


@some_kinds
def test_the_views_of_runs_are_none_of_its_business(server: Server) -> None:
    run = "/runs/00000000-0000-0000-0000-000000000000"
    assert [get(server, f"{run}{path}")[0] for path in ("/", "/events/")] == [404, 404]
