from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from django_sse import Event, EventStreamResponse, ImmediateHttpResponse, event_stream
from django_sse.exceptions import LogUnavailable, Overloaded, StreamError
from django_sse.wire import DataNotSerializable, InvalidEvent
from tests.http.support import CLOSE, asgi_request, body, events, first, frames, wsgi_request


async def items() -> AsyncIterator[str]:
    yield "one"
    yield "two"


def sync_items() -> Iterator[str]:
    yield "one"
    yield "two"


@event_stream
async def async_generator(request: Any) -> AsyncIterator[str]:
    yield "one"
    yield "two"


@event_stream
def sync_generator(request: Any) -> Iterator[str]:
    yield "one"
    yield "two"


@event_stream
async def async_function(request: Any) -> AsyncIterator[str]:
    return items()


@event_stream
async def async_function_of_sync(request: Any) -> Iterator[str]:
    return sync_items()


@event_stream
def sync_function(request: Any) -> Iterator[str]:
    return sync_items()


@event_stream
def sync_function_of_async(request: Any) -> AsyncIterator[str]:
    return items()


class Direct(View):
    @event_stream
    async def get(self, request: Any) -> AsyncIterator[str]:
        yield "one"
        yield "two"


class DirectSync(View):
    @event_stream
    def get(self, request: Any) -> Iterator[str]:
        yield "one"
        yield "two"


class Decorated(View):
    @method_decorator(event_stream)
    async def get(self, request: Any) -> AsyncIterator[str]:
        yield "one"
        yield "two"


class DecoratedFunction(View):
    @method_decorator(event_stream)
    async def get(self, request: Any) -> AsyncIterator[str]:
        return items()


class DecoratedSync(View):
    @method_decorator(event_stream)
    def get(self, request: Any) -> Iterator[str]:
        yield "one"
        yield "two"


@method_decorator(event_stream(terminal=None), name="get")
class DecoratedByName(View):
    async def get(self, request: Any) -> AsyncIterator[str]:
        yield "one"
        yield "two"
        yield Event("[DONE]", event="close", id="!end")


FORMS = {
    "async generator": async_generator,
    "sync generator": sync_generator,
    "async function": async_function,
    "async function of a sync generator": async_function_of_sync,
    "sync function": sync_function,
    "sync function of an async generator": sync_function_of_async,
    "method": Direct.as_view(),
    "sync method": DirectSync.as_view(),
    "method through method_decorator": Decorated.as_view(),
    "function through method_decorator": DecoratedFunction.as_view(),
    "sync method through method_decorator": DecoratedSync.as_view(),
    "method by name, with an option": DecoratedByName.as_view(),
}
every_form = pytest.mark.parametrize("form", FORMS)


async def call(view: Any, request: Any, **kwargs: Any) -> Any:
    """As Django calls a view under ASGI: a sync one in a thread."""
    if iscoroutinefunction(view):
        return await view(request, **kwargs)
    result = await sync_to_async(view)(request, **kwargs)
    return await result if inspect.isawaitable(result) else result


def call_in_thread(view: Any, request: Any) -> Any:
    """As Django calls a view under WSGI."""
    if iscoroutinefunction(view):
        return asyncio.run(view(request))
    result = view(request)
    return asyncio.run(_wait_for(result)) if inspect.isawaitable(result) else result


async def _wait_for(result: Any) -> Any:
    return await result


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


async def test_arguments_from_the_url_reach_the_view() -> None:
    @event_stream
    async def view(request: Any, pk: int) -> AsyncIterator[Any]:
        yield {"pk": pk}

    assert (await events(await view(asgi_request(), pk=7)))[0].data == '{"pk":7}'


def test_something_else_than_a_view_is_refused() -> None:
    @event_stream
    def view(number: int) -> list[str]:
        return []

    with pytest.raises(TypeError, match="decorates views"):
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


# -- before the first item


class Anything(Exception):
    pass


def raising(error: Exception, *, sync: bool) -> Any:
    if sync:

        @event_stream
        def sync_view(request: Any) -> Iterator[str]:
            raise error
            yield "never"

        return sync_view

    @event_stream
    async def view(request: Any) -> AsyncIterator[str]:
        raise error
        yield "never"

    return view


both = pytest.mark.parametrize("sync", [False, True])


@both
@pytest.mark.parametrize("error", [Http404("gone"), PermissionDenied(), Anything()])
async def test_what_is_raised_before_the_first_item_is_django_s_to_answer(
    error: Exception, sync: bool
) -> None:
    with pytest.raises(type(error)) as raised:
        await call(raising(error, sync=sync), asgi_request())
    assert raised.value is error


@both
@pytest.mark.parametrize("error", [Http404("gone"), PermissionDenied(), Anything()])
def test_the_same_under_wsgi(error: Exception, sync: bool) -> None:
    with pytest.raises(type(error)) as raised:
        call_in_thread(raising(error, sync=sync), wsgi_request())
    assert raised.value is error


@both
async def test_a_generator_can_answer_with_another_response(sync: bool) -> None:
    other = HttpResponseRedirect("/login/")
    assert await call(raising(ImmediateHttpResponse(other), sync=sync), asgi_request()) is other


@both
@pytest.mark.parametrize("error", [LogUnavailable("away"), Overloaded("full")])
async def test_overload_and_a_log_that_is_away_send_the_client_away(
    error: Exception, sync: bool, caplog: pytest.LogCaptureFixture
) -> None:
    view = raising(error, sync=sync)
    response = await call(view, asgi_request(path="/stream/", Accept="text/event-stream"))
    assert response.status_code == 200
    assert b"event: stream-retry\n" in response.content
    assert (await call(view, asgi_request())).status_code == 503
    assert f"/stream/: {error}" in caplog.messages


async def test_a_generator_that_ends_at_once_is_a_stream_that_ends_at_once() -> None:
    @event_stream
    async def view(request: Any) -> AsyncIterator[str]:
        for item in ():
            yield item

    assert await body(await view(asgi_request())) == CLOSE


async def test_an_item_that_cannot_be_sent_is_an_error_before_the_headers() -> None:
    @event_stream
    async def view(request: Any) -> AsyncIterator[Any]:
        yield object()

    with pytest.raises(DataNotSerializable, match="object cannot be sent as JSON"):
        await view(asgi_request())


async def test_a_late_first_item_is_not_waited_for_nor_cancelled(settings: Any) -> None:
    settings.DJANGO_SSE = {"OPEN_TIMEOUT": 0.0}
    gate = asyncio.Event()

    @event_stream
    async def view(request: Any) -> AsyncIterator[str]:
        await gate.wait()
        yield "late"

    response = await view(asgi_request())
    gate.set()
    assert await body(response) == frames("late") + CLOSE


# -- errors behind the first item


async def failing(error: Exception) -> list[Any]:
    @event_stream
    async def view(request: Any) -> AsyncIterator[str]:
        yield "first"
        raise error

    return await events(await view(asgi_request()))


async def test_an_error_is_an_event_without_details() -> None:
    assert [(e.type, e.data) for e in await failing(RuntimeError("secret"))] == [
        ("message", "first"),
        ("error", '{"error":"The stream failed."}'),
    ]


async def test_an_error_has_details_only_with_debug(settings: Any) -> None:
    settings.DEBUG = True
    assert (await failing(RuntimeError("secret")))[1].data == '{"error":"RuntimeError: secret"}'


async def test_a_stream_error_speaks_to_the_client() -> None:
    assert (await failing(StreamError("out of paper")))[1].data == '{"error":"out of paper"}'


async def test_a_stream_error_of_several_lines_stays_one_frame() -> None:
    (_, event) = await failing(StreamError("a\n\ndata: forged\n\n"))
    assert event.data == '{"error":"a\\n\\ndata: forged\\n\\n"}'


async def test_a_stream_that_failed_is_over_for_a_client_that_comes_back() -> None:
    (_, event) = await failing(RuntimeError())
    assert event.last_event_id == "!end"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (lambda: Event("x", event="a\nb"), "CR, LF or NUL"),
        (lambda: Event("x", event="a\rb"), "CR, LF or NUL"),
        (lambda: Event("x", event="a\0b"), "CR, LF or NUL"),
        (lambda: Event("x", id="a\nb"), "printable ASCII"),
        (lambda: Event("x", id="a\rb"), "printable ASCII"),
        (lambda: Event("x", id="a\0b"), "printable ASCII"),
        (lambda: b"bytes", "data must be text"),
        (lambda: "\ud800", "lone surrogate"),
        (lambda: {"value": {1, 2}}, "set is not JSON serializable"),
        (lambda: float("nan"), "cannot be sent as JSON"),
    ],
)
async def test_an_event_that_could_forge_a_frame_or_cannot_be_sent_ends_the_stream(
    item: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    @event_stream
    async def view(request: Any) -> AsyncIterator[Any]:
        yield "first"
        yield item()

    response = await view(asgi_request())
    assert [(e.type, e.data) for e in await events(response)] == [
        ("message", "first"),
        ("error", '{"error":"The stream failed."}'),
    ]
    error = next(record.exc_info[1] for record in caplog.records if record.exc_info)
    assert isinstance(error, InvalidEvent | DataNotSerializable)
    assert message in str(error)


# -- the end


async def ended(**options: Any) -> bytes:
    @event_stream(**options)
    async def view(request: Any) -> AsyncIterator[str]:
        yield "only"

    return await body(await view(asgi_request()))


async def test_the_end_is_said_and_has_the_reserved_id() -> None:
    assert await ended() == b"data: only\n\nid: !end\nevent: close\ndata: [DONE]\n\n"


async def test_the_end_can_be_another_event() -> None:
    end = await ended(terminal=Event({"ok": True}, event="finished"))
    assert end == b'data: only\n\nid: !end\nevent: finished\ndata: {"ok":true}\n\n'


async def test_the_end_can_be_bare() -> None:
    assert await ended(terminal=Event("[DONE]")) == b"data: only\n\nid: !end\ndata: [DONE]\n\n"


async def test_the_end_can_have_an_id_of_its_own() -> None:
    end = await ended(terminal=Event("bye", id="9"))
    assert end == b"data: only\n\nid: 9\ndata: bye\n\n"


async def test_the_end_can_go_unsaid() -> None:
    assert await ended(terminal=None) == b"data: only\n\n"


@every_form
async def test_whoever_brings_the_end_back_gets_204(form: str) -> None:
    response = await call(FORMS[form], asgi_request(Last_Event_ID="!end"))
    assert response.status_code == 204
    assert response["Cache-Control"] == "no-store"


async def test_whoever_posts_the_end_gets_204() -> None:
    assert (await async_generator(asgi_request("POST", Last_Event_ID="!end"))).status_code == 204


async def test_a_generator_that_was_paid_for_runs_once() -> None:
    runs = []

    @event_stream
    async def view(request: Any) -> AsyncIterator[str]:
        runs.append(request)
        yield "answer"

    (_, end) = await events(await view(asgi_request()))
    response = await view(asgi_request(Last_Event_ID=end.last_event_id))
    assert response.status_code == 204
    assert len(runs) == 1


@every_form
async def test_an_over_long_position_is_a_bad_request(form: str) -> None:
    response = await call(FORMS[form], asgi_request(Last_Event_ID="x" * 1025))
    assert response.status_code == 400


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
