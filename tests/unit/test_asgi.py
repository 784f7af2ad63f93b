"""The application around Django's, between a server and Django itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.signals import request_finished
from django.test import AsyncClient

from django_sse.asgi import EventStreamHandoff, get_asgi_application
from django_sse.http.response import HANDOFF
from tests.unit.handoff.support import Connection
from tests.unit.hub.pipe import Pipe
from tests.unit.hub.support import TIMEOUT, eventually

CLOSE = b"id: !end\nevent: close\ndata: [DONE]\n\n"


def scope_of(path: str, method: str = "GET", **more: Any) -> dict[str, Any]:
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"testserver")],
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 1),
        **more,
    }


@asynccontextmanager
async def requested(application: Any, path: str, **more: Any) -> AsyncIterator[Any]:
    """A connection on which the request is being answered, and the server's task."""
    connection = Connection()
    task = asyncio.ensure_future(
        application(scope_of(path, **more), connection.receive, connection.send)
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            yield connection, task
    finally:
        task.cancel()
        await asyncio.wait({task})


@contextmanager
def finished() -> Iterator[list[bool]]:
    """Grows by one with every request that Django is done with."""
    seen: list[bool] = []

    def note(**kwargs: Any) -> None:
        seen.append(True)

    request_finished.connect(note)
    try:
        yield seen
    finally:
        request_finished.disconnect(note)


async def test_a_stream_goes_on_after_django_is_done_with_its_request(settings: Any) -> None:
    with finished() as requests:
        async with requested(get_asgi_application(), "/waits_async/") as (connection, task):
            await eventually(lambda: connection.body == b"data: hello\n\n")
            assert requests == [True]
            assert not task.done()
            connection.leave()
            await task
    (start, *_) = connection.messages
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert dict(start["headers"])[b"Content-Type"] == b"text/event-stream; charset=utf-8"


async def test_a_stream_that_ends_ends_its_body() -> None:
    async with requested(get_asgi_application(), "/async_function/") as (connection, task):
        await task
    assert connection.body == b"data: first\n\ndata: second\n\n" + CLOSE
    assert connection.ended


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/ok/", "GET", 200),
        ("/fails/?error=404", "GET", 404),
        ("/fails/?error=redirect", "GET", 302),
        ("/async_function/", "HEAD", 200),
        ("/async_function/", "OPTIONS", 200),
        ("/async_function/?last_event_id=!end", "GET", 204),
    ],
)
async def test_what_is_no_stream_is_as_without_it(path: str, method: str, status: int) -> None:
    django = get_asgi_application()._application
    answers = []
    for application in (get_asgi_application(), django):
        async with requested(application, path, method=method) as (connection, task):
            await task
        assert connection.ended
        answers.append(connection.messages)
    with_it, without_it = answers
    assert with_it == without_it
    assert with_it[0]["status"] == status


@pytest.mark.parametrize("kind", ["websocket", "something-new"])
async def test_what_is_not_http_passes_through_as_it_is(kind: str) -> None:
    seen: list[Any] = []

    async def application(*arguments: Any) -> None:
        seen.extend(arguments)

    scope, receive, send = {"type": kind}, object(), object()
    await EventStreamHandoff(application)(scope, receive, send)
    assert seen[0] is scope and seen[1] is receive and seen[2] is send


async def test_the_servers_scope_is_left_alone() -> None:
    scope = scope_of("/ok/")
    before = dict(scope)
    seen: list[Any] = []

    async def application(given: Any, receive: Any, send: Any) -> None:
        seen.append(given)

    connection = Connection()
    await EventStreamHandoff(application)(scope, connection.receive, connection.send)
    assert scope == before
    assert seen[0].keys() - scope.keys() == {HANDOFF}


@pytest.mark.parametrize("error", [RuntimeError("broken"), asyncio.CancelledError("by the server")])
async def test_an_application_that_breaks_off_takes_its_stream_along(error: BaseException) -> None:
    stream = Pipe(b"one")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scope[HANDOFF](stream)
        raise error

    connection = Connection()
    with pytest.raises(type(error), match=str(error)):
        await EventStreamHandoff(application)(scope_of("/"), connection.receive, connection.send)
    assert stream.ends == 1


async def test_a_stream_that_opens_after_the_server_has_given_up_ends(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"OPEN_TIMEOUT": 0.1}}
    notes = tmp_path / "notes"
    notes.touch()
    monkeypatch.setenv("DJANGO_SSE_TEST_NOTES", str(notes))
    async with requested(get_asgi_application(), "/streams/opening/?name=it") as (_, task):
        await eventually(lambda: notes.read_text() == "it started\n")
        task.cancel()
        await asyncio.wait({task})
        # The pulse would end it as abandoned, but only after a minute.
        async with asyncio.timeout(TIMEOUT / 2):
            await eventually(lambda: notes.read_text() == "it started\nit\n")


async def test_djangos_own_test_client_streams_without_it() -> None:
    response: Any = await AsyncClient().get("/async_function/")
    assert b"".join([chunk async for chunk in response]) == (
        b"data: first\n\ndata: second\n\n" + CLOSE
    )
