"""What the request says of the position, and what the response says of itself."""

from __future__ import annotations

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

CONTENT_TYPE = "text/event-stream; charset=utf-8"


def last_event_id(request: HttpRequest) -> str | None:
    """The position that the client brings: the ``Last-Event-ID`` header (WHATWG HTML, 9.2.4), or
    for clients that cannot set it ``last_event_id`` or ``lastEventId`` in the query. None when it
    brings none.

    The bytes of the header are read as UTF-8, as the standard sends them; servers hand them over
    as Latin-1. It is what the client says: validate it.
    """
    header = request.headers.get("Last-Event-ID")
    if header:
        try:
            return header.encode("latin-1").decode()
        except UnicodeError:
            return header
    return request.GET.get("last_event_id") or request.GET.get("lastEventId") or None


def reconnects(request: HttpRequest) -> bool:
    """Whether the client reconnects by itself when its stream is cut, as an EventSource does.

    The vendors' SDKs do not, and most ask for anything or for JSON; one that posts may accept an
    event stream (``@ag-ui/client``), and takes the end of its body for the end of the answer.
    """
    accepts = "text/event-stream" in request.headers.get("Accept", "")
    return request.method == "GET" and accepts


def stream_headers(request: HttpRequest | None) -> dict[str, str]:
    """The headers of an event stream that answers ``request``."""
    headers = {
        "Cache-Control": "no-cache, no-transform",
        # nginx in its default set-up buffers a proxied stream to its end without this.
        "X-Accel-Buffering": "no",
        # GZipMiddleware leaves alone what has an encoding; compressed, a stream arrives late or
        # broken (Django 5.2 makes every chunk a gzip member of its own).
        "Content-Encoding": "identity",
    }
    # Hop-by-hop: an error for wsgiref, forbidden on HTTP/2 (RFC 9113, 8.2.2); an HTTP/1.0 client
    # would wait on the same connection for the end of a body that only the connection ends.
    if isinstance(request, ASGIRequest) and request.scope.get("http_version") == "1.1":
        headers["Connection"] = "keep-alive"
    return headers
