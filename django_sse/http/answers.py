"""The responses that are not a stream."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from django.http import HttpResponse, HttpResponseBadRequest, JsonResponse

from django_sse import conf
from django_sse.http.headers import (
    CONTENT_TYPE,
    last_event_id,
    reconnects,
    stream_headers,
    takes_connection,
)
from django_sse.streams.ends import TERMINAL_ID, end_frames, failed, retry_frame
from django_sse.wire.cursor import MAX_LENGTH

if TYPE_CHECKING:
    from django.http import HttpRequest

    from django_sse.dialects import Dialect
    from django_sse.exceptions import StreamError


def no_content() -> HttpResponse:
    """Return 204, which makes an EventSource stop for good (WHATWG HTML, 9.2.3)."""
    return HttpResponse(status=204, headers={"Cache-Control": "no-store"})


def come_back_later(request: HttpRequest) -> HttpResponse:
    """Answer when the process is overloaded or the log does not answer: 503, or ``stream-retry``
    for an EventSource."""
    return _later(
        request,
        503,
        "The event stream is not available right now. Try again later.",
        _reconnection_time(),
    )


def too_many_streams(request: HttpRequest) -> HttpResponse:
    """Answer when an owner has as many streams as it may have: 429 (RFC 6585, section 4), or
    ``stream-retry`` for an EventSource."""
    return _later(
        request,
        429,
        "You already have too many open event streams. Close one, or try again later.",
        _reconnection_time(),
    )


def too_many_runs(request: HttpRequest) -> HttpResponse:
    """Answer when an owner has as many runs as it may have: 429, or ``stream-retry`` for an
    EventSource."""
    return _later(
        request,
        429,
        "You already have too many answers in progress. Stop one, or wait for its end.",
        # By then the runs of a process that died have ended and do not count.
        max(5, ceil(1.5 * conf.current().RUNS.LEASE)),
    )


def _reconnection_time() -> int:
    """Return ``RETRY`` in seconds, as Retry-After has it (RFC 9110, 10.2.3)."""
    return max(1, conf.current().STREAMS.RETRY // 1000)


def _later(request: HttpRequest, status: int, text: str, seconds: int) -> HttpResponse:
    """Answer that the client has to come back.

    An EventSource never reconnects after a status other than 200, so it gets one frame with a
    jittered ``retry`` and the end of the body. Every other client gets ``status`` with Retry-After.
    """
    headers = {"Cache-Control": "no-store"}
    if takes_connection(request):
        # A refused client that kept its connection would keep a descriptor of this process.
        headers["Connection"] = "close"
    if reconnects(request):
        headers = stream_headers(None) | headers
        return HttpResponse(retry_frame(), content_type=CONTENT_TYPE, headers=headers)
    headers["Retry-After"] = str(seconds)
    if status == 429:
        return JsonResponse({"error": text}, status=status, headers=headers)
    return HttpResponse(
        text, status=status, content_type="text/plain; charset=utf-8", headers=headers
    )


def failed_stream(request: HttpRequest, error: StreamError, dialect: Dialect) -> HttpResponse:
    """Answer for a generator that failed before its first item, with a text for its client."""
    headers = stream_headers(request) | {"Cache-Control": "no-store"} | dict(dialect.headers)
    body = end_frames(failed(error), dialect.encoder())
    return HttpResponse(body, content_type=CONTENT_TYPE, headers=headers)


def refuse(request: HttpRequest) -> HttpResponse | None:
    """Return the answer to a request that must not open a stream, whatever the view is."""
    position = last_event_id(request)
    if position is not None and len(position) > MAX_LENGTH:
        return HttpResponseBadRequest(
            f"Last-Event-ID must not be longer than {MAX_LENGTH} characters.",
            content_type="text/plain; charset=utf-8",
        )
    if request.method == "OPTIONS":
        return HttpResponse(headers={"Allow": "GET, HEAD, OPTIONS, POST"})
    if position == TERMINAL_ID:
        return no_content()
    return None


def head(request: HttpRequest) -> HttpResponse:
    """Answer HEAD with a stream's headers. daphne would send a streaming body after a HEAD."""
    return HttpResponse(content_type=CONTENT_TYPE, headers=stream_headers(request))
