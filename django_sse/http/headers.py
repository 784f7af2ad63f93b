"""The headers of an event stream: the client's position, and what the response says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.handlers.asgi import ASGIRequest

from django_sse.trust.principals import is_personal

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import ResponseHeaders

CONTENT_TYPE = "text/event-stream; charset=utf-8"
# no-cache lets a cache store the stream and send it again after it has asked the server.
# no-transform forbids proxies to compress it; private forbids shared caches to store it.
PUBLIC = "no-cache, no-transform"
PRIVATE = f"private, {PUBLIC}"


def last_event_id(request: HttpRequest) -> str | None:
    """Return the client's position, or None.

    It is the ``Last-Event-ID`` header (WHATWG HTML, 9.2.4), or, for clients that cannot set a
    header, ``last_event_id`` or ``lastEventId`` in the query. Any client can send any text.

    Browsers send the header as UTF-8, and servers decode it as Latin-1.
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

    The vendors' SDKs do not. Most of them accept anything, or JSON. A client that posts may accept
    an event stream (``@ag-ui/client``), but takes the end of the body for the end of the answer.
    """
    accepts = "text/event-stream" in request.headers.get("Accept", "")
    return request.method == "GET" and accepts


def stream_headers(request: HttpRequest | None) -> dict[str, str]:
    """Return the headers of an event stream that answers ``request``."""
    headers = {
        "Cache-Control": PRIVATE if request is not None and is_personal(request) else PUBLIC,
        # nginx in its default set-up buffers a proxied stream to its end without this.
        "X-Accel-Buffering": "no",
        # GZipMiddleware skips a response that has an encoding. A compressed stream arrives late or
        # broken: Django 5.2 makes each chunk a gzip member of its own.
        "Content-Encoding": "identity",
    }
    if request is not None and takes_connection(request) and not _asks_to_close(request):
        headers["Connection"] = "keep-alive"
    return headers


def takes_connection(request: HttpRequest) -> bool:
    """Return whether the answer to ``request`` may have the header ``Connection``.

    It is hop-by-hop: an error for wsgiref (PEP 3333), and forbidden on HTTP/2 (RFC 9113, 8.2.2). An
    HTTP/1.0 client would wait on the same connection for the end of a body that only the connection
    ends.
    """
    return isinstance(request, ASGIRequest) and request.scope.get("http_version") == "1.1"


def keep_private(request: HttpRequest, headers: ResponseHeaders) -> None:
    """Make a stream private whose view asked who its client is after the response was made."""
    if headers["Cache-Control"] == PUBLIC and is_personal(request):
        headers["Cache-Control"] = PRIVATE


def _asks_to_close(request: HttpRequest) -> bool:
    """Whether the client said ``Connection: close`` (RFC 9112, 9.6); the server then answers so."""
    options = request.headers.get("Connection", "").split(",")
    return "close" in [option.strip().lower() for option in options]
