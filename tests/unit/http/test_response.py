from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import pytest
from django.http import StreamingHttpResponse
from django.test import AsyncRequestFactory

from django_sse import Event, EventStreamResponse, apublish, subscribe
from django_sse.http.response import HANDOFF
from django_sse.signals import stream_failed
from django_sse.testing import memory_log
from tests.unit.http.support import CLOSE, asgi_request, body, events, first, frames, wsgi_request


async def items() -> AsyncIterator[str]:
    yield "one"
    yield "two"


async def waits_for(gate: asyncio.Event, ended: asyncio.Event) -> AsyncIterator[str]:
    try:
        yield "one"
        await gate.wait()
        yield "two"
    finally:
        ended.set()


async def fails(error: Exception) -> AsyncIterator[str]:
    yield "one"
    raise error


def fails_sync(error: Exception) -> Iterator[str]:
    yield "one"
    raise error


# -- what it is made of


@pytest.mark.parametrize("make", [items, lambda: ["one", "two"], lambda: iter(["one", "two"])])
async def test_any_iterable_of_events_streams_under_asgi(make: Any) -> None:
    response = EventStreamResponse(make(), request=asgi_request())
    assert await body(response) == frames("one", "two") + CLOSE


@pytest.mark.parametrize("make", [items, lambda: ["one", "two"], lambda: iter(["one", "two"])])
def test_any_iterable_of_events_streams_under_wsgi(make: Any) -> None:
    response = EventStreamResponse(make(), request=wsgi_request())
    assert b"".join(response) == frames("one", "two") + CLOSE


@pytest.mark.parametrize("source", [None, 1, "text", b"bytes", {"a": 1}])
def test_something_else_is_refused_at_once(source: Any) -> None:
    with pytest.raises(TypeError, match=rf"not {type(source).__name__}.*must yield.*or return"):
        EventStreamResponse(source)


def test_getvalue_is_the_whole_body() -> None:
    assert EventStreamResponse(["one"], request=wsgi_request()).getvalue() == frames("one") + CLOSE


def test_it_is_a_streaming_response_that_middleware_knows() -> None:
    response = EventStreamResponse([])
    assert isinstance(response, StreamingHttpResponse)
    assert response.streaming and response.is_async


def test_its_headers_can_be_given() -> None:
    response = EventStreamResponse([], status=201, headers={"Cache-Control": "private", "X-A": "b"})
    assert response.status_code == 201
    assert (response["Cache-Control"], response["X-A"]) == ("private", "b")
    assert response["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response["X-Accel-Buffering"] == "no"


async def test_its_end_can_be_given() -> None:
    response = EventStreamResponse(items(), terminal=Event("bye"))
    assert await body(response) == frames("one", "two") + b"id: !end\ndata: bye\n\n"


# -- what `event_stream` does for a decorated view, as far as it can be done without it


async def test_head_opens_no_stream_and_runs_nothing() -> None:
    async def never() -> AsyncIterator[str]:
        raise AssertionError("not to be run")
        yield "never"

    response = EventStreamResponse(never(), request=asgi_request("HEAD"))
    assert await body(response) == b""
    assert response["Content-Type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize("make", [asgi_request, wsgi_request])
def test_whoever_brings_the_end_back_gets_204_and_runs_nothing(make: Any) -> None:
    def never() -> Iterator[str]:
        raise AssertionError("not to be run")
        yield "never"

    response = EventStreamResponse(never(), request=make(Last_Event_ID="!end"))
    assert response.status_code == 204
    assert response["Cache-Control"] == "no-store"
    assert response.getvalue() == b""


async def test_a_subscription_begins_at_the_position_that_the_client_brings() -> None:
    with memory_log():
        ids = [await apublish("a", str(number)) for number in range(3)]
        request = asgi_request(Last_Event_ID=str(ids[0]))
        opening, *replayed = await first(EventStreamResponse(subscribe("a"), request=request), 3)
    assert (opening.type, opening.last_event_id) == ("stream-open", ids[0])
    assert [event.data for event in replayed] == ["1", "2"]


async def test_a_subscription_serves_one_client_only() -> None:
    with memory_log():
        subscription = subscribe("a")
        first_response = EventStreamResponse(subscription, request=asgi_request())
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"Call subscribe\(\) in the view"):
                EventStreamResponse(subscription, request=asgi_request(Last_Event_ID="x-1"))
        (opening,) = await first(first_response, 1)
    assert opening.type == "stream-open"


async def test_a_subscription_that_was_closed_is_no_empty_answer() -> None:
    with memory_log():
        async with aclosing(subscribe("a")) as subscription:
            pass
        with pytest.raises(RuntimeError, match="iterated or closed"):
            EventStreamResponse(subscription, request=asgi_request())


async def test_overload_sends_the_client_away_with_a_frame(settings: Any) -> None:
    settings.DJANGO_SSE = {"LIMITS": {"SYNC_GENERATORS": 0}}
    (event,) = await events(EventStreamResponse(iter(["one"]), request=asgi_request()))
    assert event.type == "stream-retry"


# -- errors


@contextmanager
def failures(receiver: Any) -> Iterator[None]:
    stream_failed.connect(receiver)
    try:
        yield
    finally:
        stream_failed.disconnect(receiver)


async def test_a_failure_is_logged_and_signalled_with_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[tuple[Any, Any, Any]] = []
    heard = asyncio.Event()
    loop = asyncio.get_running_loop()

    def receive(sender: Any, exception: Any, request: Any, **kwargs: Any) -> None:
        told.append((sender, exception, request))
        loop.call_soon_threadsafe(heard.set)

    error, request = RuntimeError("secret"), asgi_request(path="/orders/")
    with failures(receive):
        (_, event) = await events(EventStreamResponse(fails(error), request=request))
        await heard.wait()
    assert event.data == '{"error":"The stream failed.","code":"error"}'
    assert told == [(EventStreamResponse, error, request)]
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.name == "django_sse"
    assert record.levelname == "ERROR"
    assert record.getMessage() == "The event stream of /orders/ failed."
    assert record.exc_info is not None and record.exc_info[1] is error


@pytest.mark.parametrize("source", [fails, fails_sync])
async def test_a_receiver_may_be_a_coroutine_function(source: Any) -> None:
    heard = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def receive(**kwargs: Any) -> None:
        loop.call_soon_threadsafe(heard.set)

    with failures(receive):
        seen = await events(EventStreamResponse(source(RuntimeError()), request=asgi_request()))
        await heard.wait()
    assert [event.type for event in seen] == ["message", "error"]


async def test_a_receiver_may_use_what_blocks() -> None:
    """The ORM, say, which refuses to work on an event loop's thread."""
    heard = asyncio.Event()
    loop = asyncio.get_running_loop()
    threads = []

    def receive(**kwargs: Any) -> None:
        threads.append(threading.current_thread())
        loop.call_soon_threadsafe(heard.set)

    with failures(receive):
        await events(EventStreamResponse(fails(RuntimeError()), request=asgi_request()))
        await heard.wait()
    assert threads != [threading.current_thread()]


async def test_a_receiver_that_fails_does_not_fail_the_stream() -> None:
    heard = asyncio.Event()
    loop = asyncio.get_running_loop()

    def receive(**kwargs: Any) -> None:
        loop.call_soon_threadsafe(heard.set)
        raise ValueError

    with failures(receive):
        seen = await events(EventStreamResponse(fails(RuntimeError()), request=asgi_request()))
        await heard.wait()
    assert [event.type for event in seen] == ["message", "error"]


# -- middleware


async def test_a_middleware_may_wrap_the_content() -> None:
    async def shout(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in content:
            yield chunk.upper()

    response = EventStreamResponse(items(), request=asgi_request())
    response.streaming_content = shout(response.streaming_content)
    assert await body(response) == (frames("one", "two") + CLOSE).upper()


def test_a_middleware_may_wrap_the_content_under_wsgi() -> None:
    async def shout(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in content:
            yield chunk.upper()

    response = EventStreamResponse(items(), request=wsgi_request())
    response.streaming_content = shout(response.streaming_content)
    assert response.getvalue() == (frames("one", "two") + CLOSE).upper()


async def test_closing_ends_a_generator_whose_content_was_wrapped() -> None:
    async def wrap(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in content:
            yield chunk

    gate, ended = asyncio.Event(), asyncio.Event()
    response = EventStreamResponse(waits_for(gate, ended), request=asgi_request())
    response.streaming_content = wrap(response.streaming_content)
    async for _ in response:
        break
    response.close()
    await ended.wait()


# -- the end


async def test_closing_ends_the_generator_from_any_thread_and_any_number_of_times() -> None:
    gate, ended = asyncio.Event(), asyncio.Event()
    response = EventStreamResponse(waits_for(gate, ended), request=asgi_request())
    async for _ in response:
        break
    await asyncio.gather(*(asyncio.to_thread(response.close) for _ in range(3)))
    response.close()
    await ended.wait()


def test_closing_under_wsgi_ends_the_generator() -> None:
    ended = threading.Event()

    async def generator() -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            ended.set()

    response = EventStreamResponse(generator(), request=wsgi_request())
    assert next(iter(response)) == frames("one")
    response.close()
    assert ended.wait(30)


async def test_closing_before_the_first_chunk_closes_the_source() -> None:
    closed = []

    class Source:
        def __iter__(self) -> Iterator[str]:
            return iter(["one"])

        def close(self) -> None:
            closed.append(True)

    EventStreamResponse(Source(), request=asgi_request()).close()
    assert closed == [True]


# -- the handoff: what Django holds of a stream is not the stream


async def handed_off(response: EventStreamResponse) -> Any:
    """What was taken off Django's hands, after Django has read its empty body."""
    assert [chunk async for chunk in response] == []
    (stream,) = response._request.scope["taken"]  # type: ignore[union-attr]
    return stream


def handing_off(response: EventStreamResponse) -> EventStreamResponse:
    taken: list[Any] = []
    scope: Any = response._request.scope  # type: ignore[union-attr]
    scope.update({HANDOFF: taken.append, "taken": taken})
    return response


async def test_a_stream_that_was_handed_off_does_not_end_with_its_response() -> None:
    gate, ended = asyncio.Event(), asyncio.Event()
    request = asgi_request()
    response = handing_off(EventStreamResponse(waits_for(gate, ended), request=request))
    stream = await handed_off(response)
    response.close()
    del response
    gc.collect()
    assert await anext(stream) == frames("one")
    gate.set()
    assert await anext(stream) == frames("two") + CLOSE
    assert ended.is_set()
    assert await anext(stream, None) is None


async def test_a_response_that_is_dropped_before_the_handoff_takes_its_stream_along() -> None:
    ended = asyncio.Event()
    response = handing_off(
        EventStreamResponse(waits_for(asyncio.Event(), ended), request=asgi_request())
    )
    await response.open()
    stream = response.stream
    del response
    gc.collect()
    await ended.wait()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_wrapped_content_stays_in_djangos_hands() -> None:
    async def shout(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in content:
            yield chunk.upper()

    response = handing_off(EventStreamResponse(items(), request=asgi_request()))
    response.streaming_content = shout(response.streaming_content)
    assert await body(response) == (frames("one", "two") + CLOSE).upper()


def posted(content_type: str, data: bytes) -> Any:
    return AsyncRequestFactory().post("/", data, content_type=content_type)


MULTIPART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("content_type", "data", "is_taken"),
    [
        ("application/json", b"{}", True),
        ("application/x-www-form-urlencoded", b"a=b", True),
        # Files that were uploaded go with the request.
        ("multipart/form-data; boundary=x", MULTIPART, False),
        # More than `request.body` takes.
        ("application/octet-stream", b"x" * (5 << 20), False),
    ],
)
async def test_a_generator_keeps_its_request_as_long_as_it_may_want_its_body(
    content_type: str, data: bytes, is_taken: bool
) -> None:
    request = posted(content_type, data)
    response = handing_off(EventStreamResponse(items(), request=request))
    assert (await body(response) == b"") is is_taken


async def test_a_body_that_the_view_has_begun_to_read_is_read_on_in_djangos_hands() -> None:
    request = posted("text/plain", b"0123456789")
    assert request.read(4) == b"0123"

    async def rest() -> AsyncIterator[str]:
        yield request.read().decode()

    response = handing_off(EventStreamResponse(rest(), request=request))
    assert await body(response) == frames("456789") + CLOSE


async def test_a_subscription_wants_nothing_of_its_request() -> None:
    with memory_log():
        request = posted("multipart/form-data; boundary=x", MULTIPART)
        response = handing_off(EventStreamResponse(subscribe("a"), request=request))
        stream = await handed_off(response)
        stream.close()
