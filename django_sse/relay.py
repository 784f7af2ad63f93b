"""Upstream event streams as events or values: chunks of bytes in, complete events out.

::

    RelayError (StreamError)
    ├── UpstreamStatusError     the status is not 200
    ├── UpstreamFormatError     no event stream, another dialect, or over a limit
    ├── UpstreamError           the upstream reports that it failed
    └── UpstreamDisconnected    the answer ended before it was complete

Their messages are safe to show to a client. Of the upstream they contain only the status and the
one-word code of an error frame: no address, header, key or text. The details are in ``__cause__``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol, TypeAlias, overload

from django_sse.dialects import Dialect, Value, get_dialect
from django_sse.exceptions import (
    RelayError,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamFormatError,
    UpstreamStatusError,
)
from django_sse.wire.decoder import MAX_EVENT, MAX_LINE, Decoder, MessageEvent
from django_sse.wire.errors import DecodeError, InvalidEvent
from django_sse.wire.event import Event

__all__ = [
    "RelayError",
    "UpstreamDisconnected",
    "UpstreamError",
    "UpstreamFormatError",
    "UpstreamResponse",
    "UpstreamStatusError",
    "relay",
]

# The standard says to ignore unknown fields, so the decoder would silently read a page of HTML to
# its end. After this many such lines and no event, the body is not an event stream.
_MAX_IGNORED_LINES: Final = 100
# Retry-After in seconds (RFC 9110, 10.2.3); nine digits are over 31 years.
_DELAY_SECONDS: Final = re.compile(r"[0-9]{1,9}")


class UpstreamResponse(Protocol):
    """The interface that ``relay`` needs of a streamed response; ``httpx.Response`` has it."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def aiter_bytes(self) -> AsyncIterator[bytes]: ...


Upstream: TypeAlias = UpstreamResponse | AsyncIterable[bytes]


class _Reader(Protocol):
    """A reader that turns the events into what ``relay`` yields; a dialect's decoder is one."""

    @property
    def ended(self) -> bool: ...

    def decode(self, event: Event) -> Sequence[object]: ...

    def end(self) -> None: ...


class _Events:
    """A reader that passes on the events before the one whose data is ``until``."""

    def __init__(self, until: str | None) -> None:
        self._until = until
        self.ended = False

    def decode(self, event: Event) -> Sequence[object]:
        self.ended = event.data == self._until
        return () if self.ended else (event,)

    def end(self) -> None:
        if self._until is not None:
            raise UpstreamDisconnected("The upstream's answer ended before it was complete.")


@overload
def relay(
    response: Upstream,
    *,
    until: str | None = None,
    dialect: None = None,
    max_line: int = MAX_LINE,
    max_event: int = MAX_EVENT,
) -> AsyncGenerator[Event, None]: ...


@overload
def relay(
    response: Upstream,
    *,
    dialect: str | Dialect,
    max_line: int = MAX_LINE,
    max_event: int = MAX_EVENT,
) -> AsyncGenerator[Value, None]: ...


async def relay(
    response: Upstream,
    *,
    until: str | None = None,
    dialect: str | Dialect | None = None,
    max_line: int = MAX_LINE,
    max_event: int = MAX_EVENT,
) -> AsyncGenerator[Any, None]:
    """Yield the events of an upstream, or their values, each as soon as its last byte arrives.

    Type and data are unchanged, except that line ends within data become LF. Ids and reconnection
    times are not passed on: they concern the upstream's own stream, and your client does not
    reconnect to it.

    >>> async with client.stream("POST", url, json=question) as response:
    ...     async for event in relay(response, until="[DONE]"):
    ...         yield event

    ``response`` is a streamed ``httpx.Response``, or any async iterable of the body's bytes. Once
    the first event was requested, the response is closed at the end, however the iteration ends.

    ``until`` is the data of the upstream's last event. Neither this event nor any later one is
    passed on, because your stream sends its own end. An answer that ends without it is an error.
    Without ``until`` an answer that was cut between two events looks complete.

    ``dialect`` is the upstream's dialect: a name, or a ``Dialect`` of your own. Then ``relay``
    yields values (texts, ``ToolCallDelta``, ``Usage`` and so on), which a view of any dialect can
    yield, and nothing after the dialect's own end. A dialect defines its end, so ``until`` is not
    allowed with it.

    ``max_line`` limits the bytes in a line, ``max_event`` the bytes in the data of an event.

    Raises ``UpstreamStatusError`` before the first event; ``UpstreamFormatError`` for a content
    type other than ``text/event-stream``, a line or an event that is too long, a body without
    events, or an event that does not belong to the dialect; ``UpstreamError`` for an error in the
    dialect's own form; ``UpstreamDisconnected`` for a broken connection, a time-out, or an end
    within an event, before ``until`` or before the dialect's end; and ``ValueError`` if no dialect
    has this name, or for ``until`` with a dialect.
    """
    any_event = False
    try:
        reader = _reader(until, dialect)
        decoder = Decoder(max_line, max_event)
        _check_head(response)
        async with aclosing(_chunks(response)) as chunks:
            async for chunk in chunks:
                messages, failure = _feed(decoder, chunk)
                for message in messages:
                    any_event = True
                    for value in reader.decode(_event(message)):
                        yield value
                    if reader.ended:
                        return
                if failure is not None:
                    raise failure
                if not any_event and decoder.ignored_lines > _MAX_IGNORED_LINES:
                    raise UpstreamFormatError("The upstream's body is not an event stream.")
        _check_end(decoder, any_event, reader)
    finally:
        await _close(response)


def _reader(until: str | None, dialect: str | Dialect | None) -> _Reader:
    if dialect is None:
        return _Events(until)
    if until is not None:
        raise ValueError(
            "until is not allowed with a dialect, which defines its own end: remove it"
        )
    return get_dialect(dialect).decoder()


def _check_head(response: Upstream) -> None:
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


async def _chunks(response: Upstream) -> AsyncGenerator[bytes, None]:
    source = response if isinstance(response, AsyncIterable) else response.aiter_bytes()
    try:
        async for chunk in source:
            if not isinstance(chunk, bytes):
                raise TypeError(f"relay() needs chunks of type bytes, not {type(chunk).__name__}")
            yield chunk
    except Exception as error:
        failure = _relay_error(error)
        if failure is None:
            raise
        raise failure from error
    finally:
        await _close(source)


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


def _feed(decoder: Decoder, chunk: bytes) -> tuple[list[MessageEvent], RelayError | None]:
    """Return the events of the chunk, and the error to raise after them."""
    try:
        return decoder.feed(chunk), None
    except DecodeError as error:
        failure = UpstreamFormatError("The upstream sent a line or an event that is too long.")
        failure.__cause__ = error
        return list(error.events), failure


def _event(message: MessageEvent) -> Event:
    try:
        return Event(message.data, event=None if message.type == "message" else message.type)
    except InvalidEvent as error:
        # The type has a NUL: the standard allows it, this library does not.
        raise UpstreamFormatError("The upstream sent an event with an invalid type.") from error


def _check_end(decoder: Decoder, any_event: bool, reader: _Reader) -> None:
    if not any_event and decoder.ignored_lines:
        raise UpstreamFormatError("The upstream's body is not an event stream.")
    if decoder.unfinished:
        raise UpstreamDisconnected("The upstream's answer ended before it was complete.")
    reader.end()


async def _close(source: object) -> None:
    aclose = getattr(source, "aclose", None)
    if aclose is None:
        return
    try:
        await aclose()
    except Exception as error:
        # The connection is no longer needed, so it does not matter that it broke.
        if _relay_error(error) is None:
            raise
