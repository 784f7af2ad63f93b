"""An upstream's response: its head is checked, and its body comes in small pieces."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Protocol, TypeAlias

from django_sse.exceptions import (
    RelayError,
    UpstreamDisconnected,
    UpstreamFormatError,
    UpstreamStatusError,
)
from django_sse.relay.content_coding import Identity, content_coding

# Retry-After in seconds (RFC 9110, 10.2.3); nine digits are over 31 years.
_DELAY_SECONDS: Final = re.compile(r"[0-9]{1,9}")


class UpstreamResponse(Protocol):
    """The interface that ``relay`` needs of a streamed response; ``httpx.Response`` has it.

    ``aiter_raw`` yields the body as it was received, and ``relay`` decompresses it. If
    ``is_stream_consumed`` is true the body was read before, and ``aiter_bytes`` yields it.
    """

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def is_stream_consumed(self) -> bool: ...

    def aiter_raw(self) -> AsyncIterator[bytes]: ...

    def aiter_bytes(self) -> AsyncIterator[bytes]: ...


Upstream: TypeAlias = UpstreamResponse | AsyncIterable[bytes]


def check_head(response: Upstream) -> None:
    """Raise ``UpstreamStatusError`` or ``UpstreamFormatError`` unless it begins an event stream."""
    if isinstance(response, AsyncIterable):
        return
    if response.status_code != 200:
        retry_after = _seconds(response.headers.get("retry-after", ""))
        raise UpstreamStatusError(response.status_code, retry_after)
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "text/event-stream":
        raise UpstreamFormatError("The upstream did not answer with an event stream.")


def _seconds(retry_after: str) -> float | None:
    """Return the seconds in a Retry-After: a number or a date (RFC 9110, 10.2.3)."""
    text = retry_after.strip()
    if _DELAY_SECONDS.fullmatch(text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


async def body(response: Upstream) -> AsyncGenerator[bytes, None]:
    """Yield the decompressed body in small pieces, some possibly empty, and close its source."""
    source, coding = _source(response)
    try:
        async for chunk in source:
            if not isinstance(chunk, bytes):
                raise TypeError(f"relay() needs chunks of type bytes, not {type(chunk).__name__}")
            for piece in coding.pieces(chunk):
                yield piece
        coding.end()
    except Exception as error:
        failure = _relay_error(error)
        if failure is None:
            raise
        raise failure from error
    finally:
        await close(source)


def _source(response: Upstream) -> tuple[AsyncIterable[bytes], Identity]:
    if isinstance(response, AsyncIterable):
        return response, Identity()
    if response.is_stream_consumed:
        return response.aiter_bytes(), Identity()
    return response.aiter_raw(), content_coding(response.headers.get("content-encoding", ""))


def _relay_error(error: Exception) -> RelayError | None:
    """Return the ``RelayError`` for a connection's error, or None for an error of another kind."""
    # httpx is optional: if it was not imported, nothing can raise its errors.
    httpx = sys.modules.get("httpx")
    if httpx is not None and isinstance(error, httpx.DecodingError):
        return UpstreamFormatError("The upstream sent a content encoding that cannot be decoded.")
    broken = (OSError, EOFError) if httpx is None else (OSError, EOFError, httpx.TransportError)
    if isinstance(error, broken):
        return UpstreamDisconnected("The connection to the upstream broke before the answer ended.")
    return None


async def close(source: object) -> None:
    """Close a response or an iterator, whatever the state of its connection is."""
    aclose = getattr(source, "aclose", None)
    if aclose is None:
        return
    try:
        await aclose()
    except Exception as error:
        # The connection is no longer needed, so it does not matter that it broke.
        if _relay_error(error) is None:
            raise
