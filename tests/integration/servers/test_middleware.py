"""Streams behind middleware that compresses, compares, wraps, or knows nothing of async."""

from __future__ import annotations

import pytest

from tests.integration.servers.client import Stream, get
from tests.integration.servers.kinds import every_kind
from tests.integration.servers.notes import Notes
from tests.project.forms import FORMS
from tests.servers import Server, Site

SITE = Site("tests.project.middleware_settings", "tests.project", "DJANGO_SSE_TEST_DB", "/ok/")
COMPRESSING = {"Accept-Encoding": "gzip, deflate, br"}


@every_kind
@pytest.mark.parametrize("form", FORMS)
def test_an_event_is_there_before_the_next_one_is_made(
    server: Server, form: str, name: str
) -> None:
    path = f"/forms/{form}/?name={name}"
    with Stream(server, path, headers=COMPRESSING) as stream:
        for number in range(3):
            assert stream.next().data == f'{{"step":{number}}}'
            get(server, f"/open_gate/{name}/")
        assert [event.type for event in stream] == ["close"]
        assert stream.header("Content-Encoding") == "identity"
        assert stream.header("X-Sync-Only") == "yes"
        assert stream.header("ETag") is None


@every_kind
@pytest.mark.parametrize("form", ["async_generator", "sync_generator", "plain_async"])
def test_the_same_when_the_content_was_wrapped(server: Server, form: str, name: str) -> None:
    path = f"/forms/{form}/?wrap=1&name={name}"
    with Stream(server, path, headers=COMPRESSING) as stream:
        for number in range(3):
            assert stream.next().data == f'{{"STEP":{number}}}'
            get(server, f"/open_gate/{name}/")
        assert [event.type for event in stream] == ["close"]


@every_kind
@pytest.mark.parametrize("wrap", ["", "&wrap=1"])
@pytest.mark.parametrize("view", ["waiting", "ticking_sync", "flooding"])
def test_a_client_that_leaves_ends_its_generator(
    server: Server, notes: Notes, name: str, view: str, wrap: str
) -> None:
    path = f"/streams/{view}/?name={name}{wrap}"
    with Stream(server, path, receive_buffer=4096) as stream:
        stream.read()
        assert notes.count(name) == 0
    notes.wait_for(name)


@every_kind
def test_a_channel_streams(server: Server, name: str) -> None:
    with Stream(server, f"/channels/{name}/", headers=COMPRESSING) as stream:
        assert stream.next().type == "stream-open"
        get(server, f"/publish/{name}/", method="POST", data=b"news")
        assert stream.next().data == "news"


@every_kind
@pytest.mark.parametrize("view", ["language", "language_sync"])
def test_a_generator_speaks_the_language_of_its_request(server: Server, view: str) -> None:
    with Stream(server, f"/streams/{view}/", headers={"Accept-Language": "de"}) as stream:
        assert [event.data for event in stream.take(2)] == ['["de","/streams/language/"]'] * 2
    with Stream(server, f"/streams/{view}/", headers={"Accept-Language": "fr"}) as stream:
        assert [event.data for event in stream.take(2)] == ['["fr","/streams/language/"]'] * 2


@every_kind
def test_a_conditional_request_gets_the_stream(server: Server) -> None:
    headers = {"If-None-Match": "*", "If-Modified-Since": "Sat, 21 Nov 2026 00:00:00 GMT"}
    with Stream(server, "/async_generator/?count=1", headers=headers) as stream:
        assert stream.status == 200
        assert [event.type for event in stream] == ["tick", "close"]
