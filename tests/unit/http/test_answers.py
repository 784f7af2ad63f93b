from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse

from django_sse.http import TERMINAL_ID
from django_sse.http.answers import come_back_later, head, no_content, refuse
from django_sse.wire import Decoder
from tests.unit.http.support import asgi_request, wsgi_request

requests = pytest.mark.parametrize("make", [asgi_request, wsgi_request])


def test_no_content_is_not_kept_by_a_cache() -> None:
    response = no_content()
    assert (response.status_code, response.content) == (204, b"")
    assert response["Cache-Control"] == "no-store"


@requests
def test_a_request_for_a_stream_is_not_refused(make: Any) -> None:
    assert refuse(make()) is None
    assert refuse(make("POST")) is None
    assert refuse(make("HEAD")) is None
    assert refuse(make(Last_Event_ID="whatever")) is None


@requests
def test_a_position_of_1280_characters_is_the_longest(make: Any) -> None:
    assert refuse(make(Last_Event_ID="x" * 1280)) is None
    assert refuse(make(path="/?last_event_id=" + "x" * 1280)) is None


@requests
@pytest.mark.parametrize("where", ["header", "last_event_id", "lastEventId"])
def test_a_longer_position_is_a_bad_request(make: Any, where: str) -> None:
    text = "x" * 1281
    request = make(Last_Event_ID=text) if where == "header" else make(path=f"/?{where}={text}")
    response = refuse(request)
    assert isinstance(response, HttpResponse)
    assert response.status_code == 400
    assert response.content == b"Last-Event-ID must not be longer than 1280 characters."
    assert response["Content-Type"] == "text/plain; charset=utf-8"


@requests
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_terminal_id_is_answered_with_204(make: Any, method: str) -> None:
    for request in (
        make(method, Last_Event_ID=TERMINAL_ID),
        make(method, path=f"/?last_event_id={TERMINAL_ID}"),
        make(method, path=f"/?lastEventId={TERMINAL_ID}"),
    ):
        response = refuse(request)
        assert isinstance(response, HttpResponse)
        assert response.status_code == 204
        assert response["Cache-Control"] == "no-store"


@requests
def test_options_names_methods_and_has_no_body(make: Any) -> None:
    response = refuse(make("OPTIONS"))
    assert isinstance(response, HttpResponse)
    assert (response.status_code, response.content) == (200, b"")
    assert response["Allow"] == "GET, HEAD, OPTIONS, POST"


@requests
def test_head_has_the_headers_of_a_stream_and_no_body(make: Any) -> None:
    response = head(make("HEAD"))
    assert not response.streaming
    assert response.content == b""
    assert response["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response["Cache-Control"] == "no-cache, no-transform"


@requests
def test_an_event_source_is_sent_away_with_a_frame_since_an_error_would_be_final(
    make: Any, settings: Any
) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"RETRY": 3000, "RETRY_JITTER": 4000}}
    times: set[int] = set()
    for _ in range(50):
        response = come_back_later(make(Accept="text/event-stream"))
        assert response.status_code == 200
        assert response["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response["Content-Encoding"] == "identity"
        assert response["Cache-Control"] == "no-store"
        decoder = Decoder()
        (event,) = decoder.feed(response.content)
        assert (event.type, event.data) == ("stream-retry", "{}")
        assert decoder.reconnection_time is not None
        times.add(decoder.reconnection_time)
    # At random, so that they do not come back all at once.
    assert 3000 <= min(times) < max(times) <= 7000
    assert len(times) > 10


@requests
def test_every_other_client_is_sent_away_with_503(make: Any, settings: Any) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"RETRY": 3000}}
    for request in (
        make(),
        make(Accept="text/html"),
        make("POST", Accept="text/event-stream"),
    ):
        response = come_back_later(request)
        assert response.status_code == 503
        assert response["Retry-After"] == "3"
        assert response["Cache-Control"] == "no-store"
        assert response.content == b"The event stream is not available right now. Try again later."


@pytest.mark.parametrize("accept", ["text/event-stream", "text/html"])
def test_the_connection_of_a_client_that_is_sent_away_is_not_kept(accept: str) -> None:
    # It would keep a descriptor of a process that has too few of them.
    request: Any = asgi_request(Accept=accept)
    request.scope["http_version"] = "1.1"
    assert come_back_later(request)["Connection"] == "close"
    request.scope["http_version"] = "2"
    for other in request, wsgi_request(Accept=accept):
        assert "Connection" not in come_back_later(other)


def test_retry_after_is_never_at_once(settings: Any) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"RETRY": 10}}
    assert come_back_later(wsgi_request())["Retry-After"] == "1"
