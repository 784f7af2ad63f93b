"""The body of a stream's request: dropped, or kept for as long as the stream lasts."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIRequest
from django.http import RawPostDataException, UnreadablePostError

if TYPE_CHECKING:
    from django.http import HttpRequest


def drop_body(request: HttpRequest) -> None:
    """Drop the body of a GET or HEAD, which means nothing (RFC 9110, 9.3.1 and 9.3.2).

    Any client can send 2 MB with each GET, and the server would keep them for hours. Afterwards
    the body is empty. Django has no public way to give it back: ``_body`` and ``_stream`` are
    private, and without them the body is kept.
    """
    if request.method not in ("GET", "HEAD"):
        return
    held: Any = request
    if isinstance(request, ASGIRequest) and hasattr(request, "_stream"):
        # Django's own buffer, in memory or on disk. (Under WSGI it is the client's connection.)
        held._stream.close()
    held._body = b""
    held._stream = BytesIO()


def is_still_read(request: HttpRequest) -> bool:
    """Whether a generator may still need something that Django closes with its request: uploaded
    files, or a body that the generator reads itself."""
    if request.content_type == "multipart/form-data" and request.method not in ("GET", "HEAD"):
        return True
    try:
        # From here on the body is in memory, and the generator may read it at any time. Django
        # refuses more than DATA_UPLOAD_MAX_MEMORY_SIZE.
        request.body  # noqa: B018
    except (RawPostDataException, RequestDataTooBig, UnreadablePostError):
        return True
    return False
