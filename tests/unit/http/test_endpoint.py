from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.http import Http404, HttpRequest, HttpResponse

from django_sse.dialects import Dialect, get_dialect
from django_sse.dialects.plain import DONE, Plain
from django_sse.exceptions import (
    ImmediateHttpResponse,
    InvalidChannel,
    LogUnavailable,
    Overloaded,
    StreamError,
    TooManyRuns,
    TooManyStreams,
)
from django_sse.http import EventStreamResponse
from django_sse.http.endpoint import Endpoint, request_among
from tests.unit.http.support import CLOSE, asgi_request, body, frames, wsgi_request


async def generator(request: HttpRequest) -> AsyncIterator[str]:
    yield "one"


def function(request: HttpRequest) -> list[str]:
    return ["one"]


def endpoint_of(view: Any) -> Endpoint:
    return Endpoint(view, Plain())


# -- the request


def test_the_request_is_the_first_argument_or_behind_self() -> None:
    request = asgi_request()
    assert request_among((request,)) is request
    assert request_among((request, "more")) is request
    assert request_among((object(), request)) is request


@pytest.mark.parametrize("args", [(), (object(),), (object(), object(), asgi_request())])
def test_what_has_no_request_there_is_no_view(args: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="a function or method whose first argument is a request"):
        request_among(args)


# -- what can be said without the view


def test_a_generators_head_needs_no_view() -> None:
    answer = endpoint_of(generator).answer(asgi_request("HEAD"))
    assert answer is not None
    assert answer["Content-Type"] == "text/event-stream; charset=utf-8"
    assert endpoint_of(function).answer(asgi_request("HEAD")) is None


def test_whoever_has_seen_the_end_needs_none_either() -> None:
    for view in (generator, function):
        answer = endpoint_of(view).answer(asgi_request(Last_Event_ID="!end"))
        assert answer is not None
        assert answer.status_code == 204
        assert endpoint_of(view).answer(asgi_request()) is None


# -- from a result to a response


async def test_a_result_becomes_a_stream_with_the_views_end() -> None:
    endpoint = Endpoint(function, Plain(DONE))
    response = endpoint.response(asgi_request(), ["one"])
    assert await body(response) == frames("one") + CLOSE


async def test_or_one_in_the_views_dialect() -> None:
    endpoint = Endpoint(function, get_dialect("ai-sdk"))
    response = endpoint.response(asgi_request(), ["one"])
    assert response["x-vercel-ai-ui-message-stream"] == "v1"
    assert (await body(response)).endswith(b"id: !end\ndata: [DONE]\n\n")


def test_a_response_is_itself_whatever_the_method() -> None:
    other = HttpResponse("please log in")
    for method in ("GET", "HEAD", "POST"):
        assert endpoint_of(function).response(asgi_request(method), other) is other
    stream = EventStreamResponse(["one"])
    assert endpoint_of(function).response(asgi_request(), stream) is stream


# -- what was raised before the headers


def failed(
    error: Exception, request: HttpRequest | None = None, dialect: Dialect | None = None
) -> Any:
    return Endpoint(function, dialect or Plain()).failed(request or asgi_request(), error)


def test_a_response_that_was_raised_is_the_answer() -> None:
    response = HttpResponse(status=302)
    assert failed(ImmediateHttpResponse(response)) is response


def test_a_name_that_no_channel_has_is_not_found() -> None:
    with pytest.raises(Http404, match="no such name"):
        failed(InvalidChannel("no such name"))


@pytest.mark.parametrize("error", [LogUnavailable("away"), Overloaded("full")])
@pytest.mark.parametrize("make", [asgi_request, wsgi_request])
def test_what_passes_is_503_or_for_an_event_source_a_later_time(
    error: Exception, make: Any
) -> None:
    response = failed(error, make())
    assert (response.status_code, int(response["Retry-After"]) > 0) == (503, True)
    response = failed(error, make(Accept="text/event-stream"))
    assert (response.status_code, b"stream-retry" in response.content) == (200, True)


@pytest.mark.parametrize("error", [TooManyRuns("20 of them"), TooManyStreams("20 of them")])
@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
def test_what_one_owner_has_too_many_of_is_429(error: Exception, accept: str) -> None:
    response = failed(error, asgi_request("POST", Accept=accept))
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0
    assert (b"error" in response.content, b"20 of them" in response.content) == (True, False)


@pytest.mark.parametrize("error", [TooManyRuns("20 of them"), TooManyStreams("20 of them")])
def test_or_a_later_time_for_an_event_source_to_which_429_is_final(error: Exception) -> None:
    response = failed(error, asgi_request(Accept="text/event-stream"))
    assert (response.status_code, b"stream-retry" in response.content) == (200, True)


def test_a_text_for_the_client_is_a_stream_of_its_own() -> None:
    response = failed(StreamError("out of paper"))
    assert response.content.startswith(b"id: !end\nevent: error\n")
    assert b"out of paper" in response.content


def test_in_a_dialect_it_is_the_dialects() -> None:
    response = failed(StreamError("out of paper"), dialect=get_dialect("ai-sdk"))
    assert b'"errorText":"out of paper"' in response.content
    assert response.content.endswith(b"id: !end\ndata: [DONE]\n\n")
    assert response["x-vercel-ai-ui-message-stream"] == "v1"


@pytest.mark.parametrize("error", [Http404("x"), ValueError("x"), TypeError("x")])
def test_what_is_not_ours_is_djangos(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        failed(error)
    assert raised.value is error
