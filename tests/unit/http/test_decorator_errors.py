"""What `event_stream` makes of an error, before the first item and behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect

from django_sse import Event, ImmediateHttpResponse, Subscription, event_stream, subscribe
from django_sse.dialects import get_dialect
from django_sse.exceptions import LogUnavailable, Overloaded, StreamError
from django_sse.wire import DataNotSerializable, InvalidEvent
from tests.unit.http.forms import (
    call,
    call_in_thread,
)
from tests.unit.http.support import CLOSE, asgi_request, body, events, frames, wsgi_request

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


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb"])
async def test_a_channel_that_cannot_be_is_not_found(name: str) -> None:
    @event_stream
    def sync_view(request: HttpRequest) -> Subscription:
        return subscribe(name)

    @event_stream
    async def async_view(request: HttpRequest) -> Subscription:
        return subscribe(name)

    with pytest.raises(Http404, match="channel's name"):
        call_in_thread(sync_view, wsgi_request())
    with pytest.raises(Http404, match="channel's name"):
        await call(async_view, asgi_request())


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
        return
        yield "never"

    assert await body(await view(asgi_request())) == CLOSE


async def test_an_item_that_cannot_be_sent_is_an_error_before_the_headers() -> None:
    @event_stream
    async def view(request: Any) -> AsyncIterator[Any]:
        yield object()

    with pytest.raises(DataNotSerializable, match="object cannot be sent as JSON"):
        await view(asgi_request())


async def test_a_late_first_item_is_not_waited_for_nor_cancelled(settings: Any) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"OPEN_TIMEOUT": 0.0}}
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
        ("error", '{"error":"The stream failed.","code":"error"}'),
    ]


async def test_an_error_has_details_only_with_debug(settings: Any) -> None:
    settings.DEBUG = True
    assert (await failing(RuntimeError("secret")))[
        1
    ].data == '{"error":"RuntimeError: secret","code":"error"}'


async def test_a_stream_error_speaks_to_the_client() -> None:
    assert (await failing(StreamError("out of paper")))[
        1
    ].data == '{"error":"out of paper","code":"error"}'


async def test_a_stream_error_of_several_lines_stays_one_frame() -> None:
    (_, event) = await failing(StreamError("a\n\ndata: forged\n\n"))
    assert event.data == '{"error":"a\\n\\ndata: forged\\n\\n","code":"error"}'


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
        (lambda: Event("\ud800"), "lone surrogate"),
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
        ("error", '{"error":"The stream failed.","code":"error"}'),
    ]
    error = next(record.exc_info[1] for record in caplog.records if record.exc_info)
    assert isinstance(error, InvalidEvent | DataNotSerializable)
    assert message in str(error)


@pytest.mark.parametrize(
    ("dialect", "item", "sent"),
    [
        ("plain", "a\ud800b", "a\ufffdb"),
        ("plain", {"a": "\ud800"}, '{"a":"\ufffd"}'),
        # Only a log cannot have it.
        ("plain", "a\0b", "a\0b"),
        ("openai-chat", "a\0\ud800b", "a\ufffd\ufffdb"),
    ],
)
async def test_a_character_that_cannot_be_sent_costs_no_more_than_itself(
    dialect: str, item: Any, sent: str, caplog: pytest.LogCaptureFixture
) -> None:
    @event_stream(dialect=dialect)
    async def view(request: Any) -> AsyncIterator[Any]:
        yield item
        yield item

    decoder = get_dialect(dialect).decoder()
    values = [
        value
        for each in await events(await view(asgi_request()))
        for value in decoder.decode(Event(each.data, each.type))
        if isinstance(value, str) and each.type != "stream-open"
    ]
    assert "".join(values) == sent * 2
    lines = [each.message for each in caplog.records if "U+FFFD" in each.message]
    assert len(lines) == (item != sent)
