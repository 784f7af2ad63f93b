from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.test import AsyncRequestFactory, RequestFactory

from django_sse import EventStreamResponse
from django_sse.http.request_body import drop_body, is_still_read


def asgi(method: str, data: bytes = b"body", content_type: str = "text/plain") -> ASGIRequest:
    return AsyncRequestFactory().generic(method, "/", data, content_type)


def wsgi(method: str, data: bytes = b"body", content_type: str = "text/plain") -> HttpRequest:
    return RequestFactory().generic(method, "/", data, content_type)


@pytest.mark.parametrize("make", [asgi, wsgi])
@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_body_that_means_nothing_is_dropped(make: Any, read: bool, method: str) -> None:
    request = make(method)
    if read:
        assert request.body == b"body"
    drop_body(request)
    assert request.body == b""
    assert request.read() == b""


def test_djangos_buffer_of_it_is_closed() -> None:
    request: Any = asgi("GET")
    buffer = BytesIO(b"body")
    request._stream = buffer
    drop_body(request)
    assert buffer.closed


@pytest.mark.parametrize("make", [asgi, wsgi])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_any_other_body_is_kept(make: Any, method: str) -> None:
    request = make(method)
    drop_body(request)
    assert request.body == b"body"


@pytest.mark.parametrize("make", [asgi, wsgi])
def test_a_stream_drops_it_and_its_view_may_read_it_before(make: Any) -> None:
    request = make("GET", content_type="multipart/form-data; boundary=x")
    assert request.body == b"body"
    EventStreamResponse(iter(["one"]), request=request)
    assert request.body == b""
    assert not is_still_read(request)
