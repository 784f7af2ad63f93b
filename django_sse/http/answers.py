"""The answers that are not a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse, HttpResponseBadRequest, JsonResponse

from django_sse import conf
from django_sse.http.headers import CONTENT_TYPE, last_event_id, reconnects, stream_headers
from django_sse.streams.ends import TERMINAL_ID, end_frames, failed, retry_frame
from django_sse.wire.cursor import MAX_LENGTH

if TYPE_CHECKING:
    from django.http import HttpRequest

    from django_sse.dialects import Dialect
    from django_sse.exceptions import StreamError


def no_content() -> HttpResponse:
    """204: what makes an EventSource stop for good (WHATWG HTML, 9.2.3)."""
    return HttpResponse(status=204, headers={"Cache-Control": "no-store"})


def come_back_later(request: HttpRequest) -> HttpResponse:
    """For overload and a log that is away.

    An EventSource never comes back after a status other than 200, so it gets one frame with a
    jittered ``retry`` and the end of the body; everyone else 503 with Retry-After.
    """
    if reconnects(request):
        headers = stream_headers(None) | {"Cache-Control": "no-store"}
        return HttpResponse(retry_frame(), content_type=CONTENT_TYPE, headers=headers)
    seconds = max(1, conf.current().STREAMS.RETRY // 1000)
    return HttpResponse(
        "The event stream is not available just now.",
        status=503,
        content_type="text/plain; charset=utf-8",
        headers={"Retry-After": str(seconds), "Cache-Control": "no-store"},
    )


def failed_stream(request: HttpRequest, error: StreamError, dialect: Dialect) -> HttpResponse:
    """Answer for a generator that failed before its first item, with a text for its client."""
    headers = stream_headers(request) | {"Cache-Control": "no-store"} | dict(dialect.headers)
    body = end_frames(failed(error), dialect.encoder())
    return HttpResponse(body, content_type=CONTENT_TYPE, headers=headers)


def too_many_runs() -> HttpResponse:
    """429 (RFC 6585, section 4): what the caller has under way must end first."""
    return JsonResponse(
        {"error": "You already have too many answers in progress. Stop one, or wait for its end."},
        status=429,
        headers={"Retry-After": "5", "Cache-Control": "no-store"},
    )


def refuse(request: HttpRequest) -> HttpResponse | None:
    """The answer to a request that opens no stream, without calling the view."""
    position = last_event_id(request)
    if position is not None and len(position) > MAX_LENGTH:
        return HttpResponseBadRequest(
            f"Last-Event-ID has more than {MAX_LENGTH} characters.",
            content_type="text/plain; charset=utf-8",
        )
    if request.method == "OPTIONS":
        return HttpResponse(headers={"Allow": "GET, HEAD, OPTIONS, POST"})
    if position == TERMINAL_ID:
        return no_content()
    return None


def head(request: HttpRequest) -> HttpResponse:
    """The headers of a stream without one: daphne would send a stream's body after a HEAD."""
    return HttpResponse(content_type=CONTENT_TYPE, headers=stream_headers(request))
