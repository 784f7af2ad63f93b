from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from django_sse import EventStreamResponse, event_stream, subscribe
from tests.unit.http.forms import (
    FORMS,
    async_function,
    async_generator,
    call,
    call_in_thread,
    every_form,
    items,
    sync_function,
    sync_generator,
)
from tests.unit.http.support import CLOSE, asgi_request, body, events, first, frames, wsgi_request

# -- forms


@every_form
async def test_every_form_of_view_streams_under_asgi(form: str) -> None:
    response = await call(FORMS[form], asgi_request())
    assert await body(response) == frames("one", "two") + CLOSE


@every_form
def test_every_form_of_view_streams_under_wsgi(form: str) -> None:
    response = call_in_thread(FORMS[form], wsgi_request())
    assert b"".join(response) == frames("one", "two") + CLOSE


async def test_the_decorated_view_is_what_the_view_was() -> None:
    assert inspect.iscoroutinefunction(async_generator)
    assert inspect.iscoroutinefunction(async_function)
    assert not inspect.iscoroutinefunction(sync_generator)
    assert not inspect.iscoroutinefunction(sync_function)
    assert async_generator.__name__ == "async_generator"


def test_marks_of_other_decorators_are_kept() -> None:
    assert event_stream(csrf_exempt(async_function)).csrf_exempt  # type: ignore[attr-defined]


@pytest.mark.parametrize("view", [5, "news", subscribe("news"), [1, 2]])
def test_only_a_view_can_be_decorated(view: Any) -> None:
    with pytest.raises(TypeError, match=rf"decorates a view.*not {type(view).__name__}"):
        event_stream(view)


@pytest.mark.parametrize("decorate", [event_stream, event_stream(resumable=True)])
def test_a_class_is_told_where_the_decorator_belongs(decorate: Any) -> None:
    with pytest.raises(TypeError, match="the get method of View"):
        decorate(View)


async def test_arguments_from_the_url_reach_the_view() -> None:
    @event_stream
    async def view(request: Any, pk: int) -> AsyncIterator[Any]:
        yield {"pk": pk}

    assert (await events(await view(asgi_request(), pk=7)))[0].data == '{"pk":7}'


def test_something_else_than_a_view_is_refused() -> None:
    @event_stream
    def view(number: int) -> list[str]:
        return []

    with pytest.raises(TypeError, match="decorates a view"):
        view(5)


@pytest.mark.parametrize("result", [None, 5, "text", b"bytes", {"a": 1}])
async def test_a_view_that_returns_no_events_says_so(result: Any) -> None:
    @event_stream
    async def view(request: Any) -> Any:
        return result

    with pytest.raises(TypeError, match=rf"iterable of events, not {type(result).__name__}"):
        await view(asgi_request())


async def test_another_response_is_passed_on() -> None:
    other = HttpResponse("please log in")

    @event_stream
    async def view(request: Any) -> Any:
        return other

    assert await view(asgi_request()) is other


async def test_a_stream_response_with_headers_of_its_own_is_passed_on() -> None:
    @event_stream
    async def view(request: Any) -> Any:
        headers = {"X-Accel-Buffering": "yes", "X-Own": "1"}
        return EventStreamResponse(items(), request=request, headers=headers)

    response = await view(asgi_request())
    assert (response["X-Own"], response["X-Accel-Buffering"]) == ("1", "yes")
    assert await body(response) == frames("one", "two") + CLOSE


# -- HEAD


async def test_head_runs_a_function_s_checks_but_no_generator() -> None:
    ran = []

    async def generator() -> AsyncIterator[str]:
        ran.append("generator")
        yield "never"

    @event_stream
    async def view(request: Any) -> AsyncIterator[str]:
        ran.append("checks")
        return generator()

    response = await view(asgi_request("HEAD"))
    assert not response.streaming
    assert response["Content-Type"] == "text/event-stream; charset=utf-8"
    assert ran == ["checks"]


async def test_head_closes_what_the_view_had_opened() -> None:
    closed = []

    class Items:
        def __iter__(self) -> Iterator[str]:
            raise AssertionError("not to be iterated")

        def close(self) -> None:
            closed.append(True)

    @event_stream
    async def view(request: Any) -> Any:
        return Items()

    await view(asgi_request("HEAD"))
    assert closed == [True]


@every_form
async def test_head_opens_no_stream(form: str) -> None:
    response = await call(FORMS[form], asgi_request("HEAD"))
    assert (response.status_code, response.content) == (200, b"")


async def test_a_client_that_leaves_ends_the_generator() -> None:
    ended = asyncio.Event()

    @event_stream
    async def view(request: Any) -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            ended.set()

    await first(await view(asgi_request()), 1)
    await ended.wait()
