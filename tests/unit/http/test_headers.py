from __future__ import annotations

from collections.abc import Callable

import pytest
from django.http import HttpRequest

from django_sse.http.headers import CONTENT_TYPE, last_event_id, reconnects, stream_headers
from tests.unit.http.support import asgi_request, wsgi_request

MakeRequest = Callable[..., HttpRequest]
both = pytest.mark.parametrize("make", [asgi_request, wsgi_request])


def as_servers_hand_over(text: str) -> str:
    """The bytes of the header, as every server decodes them."""
    return text.encode().decode("latin-1")


@both
def test_a_request_without_a_position_has_none(make: MakeRequest) -> None:
    assert last_event_id(make()) is None


@both
def test_the_header_is_the_position(make: MakeRequest) -> None:
    assert last_event_id(make(Last_Event_ID="abc-1")) == "abc-1"


@both
@pytest.mark.parametrize("name", ["last_event_id", "lastEventId"])
def test_the_query_is_the_position_of_clients_that_cannot_set_a_header(
    make: MakeRequest, name: str
) -> None:
    assert last_event_id(make(path=f"/?{name}=abc-1")) == "abc-1"


@both
def test_the_header_goes_before_the_query(make: MakeRequest) -> None:
    request = make(path="/?last_event_id=old&lastEventId=older", Last_Event_ID="new")
    assert last_event_id(request) == "new"


@both
def test_last_event_id_goes_before_its_other_spelling(make: MakeRequest) -> None:
    assert last_event_id(make(path="/?lastEventId=b&last_event_id=a")) == "a"


@both
def test_an_empty_header_or_parameter_is_no_position(make: MakeRequest) -> None:
    assert last_event_id(make(Last_Event_ID="")) is None
    assert last_event_id(make(path="/?last_event_id=&lastEventId=")) is None
    assert last_event_id(make(path="/?last_event_id=a", Last_Event_ID="")) == "a"


@both
def test_a_header_in_utf_8_is_read_as_the_client_wrote_it(make: MakeRequest) -> None:
    assert last_event_id(make(Last_Event_ID=as_servers_hand_over("größe-1"))) == "größe-1"


@both
def test_a_header_in_latin_1_is_read_as_latin_1(make: MakeRequest) -> None:
    assert last_event_id(make(Last_Event_ID="gr\xf6\xdfe-1")) == "größe-1"


def test_the_headers_of_a_stream_under_asgi() -> None:
    assert stream_headers(asgi_request()) == {
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",
        "Content-Encoding": "identity",
        "Connection": "keep-alive",
    }
    assert CONTENT_TYPE == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize("version", ["1.0", "2", "3"])
def test_only_http_1_1_is_kept_alive_by_a_header(version: str) -> None:
    request = asgi_request()
    request.scope["http_version"] = version  # type: ignore[attr-defined]
    assert "Connection" not in stream_headers(request)


@pytest.mark.parametrize("asked", ["close", "Close", "keep-alive, close", "TE,close"])
def test_a_client_that_asks_to_close_is_not_promised_the_opposite(asked: str) -> None:
    assert "Connection" not in stream_headers(asgi_request(Connection=asked))
    assert "Connection" in stream_headers(asgi_request(Connection="TE, closed"))


def test_hop_by_hop_headers_are_not_the_applications_under_wsgi() -> None:
    assert "Connection" not in stream_headers(wsgi_request())
    assert "Connection" not in stream_headers(None)


@both
@pytest.mark.parametrize(
    ("method", "accept", "expected"),
    [
        ("GET", "text/event-stream", True),
        ("GET", "application/json, text/event-stream", True),
        ("GET", "application/json", False),
        ("GET", "*/*", False),
        ("GET", "", False),
        # As @ag-ui/client does: whatever it accepts, a POST is not sent twice.
        ("POST", "text/event-stream", False),
        ("PUT", "text/event-stream", False),
    ],
)
def test_who_gets_an_event_stream_comes_back_by_itself(
    make: MakeRequest, method: str, accept: str, expected: bool
) -> None:
    assert reconnects(make(method, Accept=accept)) is expected
