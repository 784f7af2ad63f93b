"""Upstream event streams to events, or to values: bytes in any cut in, whole events out.

::

    RelayError (StreamError)
    ├── UpstreamStatusError     another status than 200
    ├── UpstreamFormatError     not an event stream, not the dialect, or beyond the limits
    ├── UpstreamError           the upstream itself says that it failed
    └── UpstreamDisconnected    the answer ended before it was whole

Their messages can be shown to a client: no address, header, key or text of the upstream is in them,
but its status, and the one word that an error frame has for its kind. What happened in detail is in
``__cause__``.
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

# A field that the standard does not know is ignored, so a page of HTML would be read to its end
# without a word. No event within so many of its lines: it is no event stream.
_MAX_IGNORED_LINES: Final = 100
# Retry-After in seconds (RFC 9110, 10.2.3); more digits than that are no time to wait.
_DELAY_SECONDS: Final = re.compile(r"[0-9]{1,9}")


class UpstreamResponse(Protocol):
    """What :func:`relay` needs of a streamed response; ``httpx.Response`` has it."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def aiter_bytes(self) -> AsyncIterator[bytes]: ...


Upstream: TypeAlias = UpstreamResponse | AsyncIterable[bytes]


class _Reader(Protocol):
    """What becomes of the events; a dialect's decoder is one."""

    @property
    def ended(self) -> bool: ...

    def decode(self, event: Event) -> Sequence[object]: ...

    def end(self) -> None: ...


class _Events:
    """The events themselves, before the one whose data is ``until``."""

    def __init__(self, until: str | None) -> None:
        self._until = until
        self.ended = False

    def decode(self, event: Event) -> Sequence[object]:
        self.ended = event.data == self._until
        return () if self.ended else (event,)

    def end(self) -> None:
        if self._until is not None:
            raise UpstreamDisconnected("The upstream's answer ended before it was whole.")


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
    """The events of an upstream, or their values, each as soon as its last byte is there.

    Type and data are kept to the letter, line ends within data come as LF. Ids and reconnection
    times are not passed on: they are about the upstream's own stream, which your client does not
    reconnect to.

    >>> async with client.stream("POST", url, json=question) as response:
    ...     async for event in relay(response, until="[DONE]"):
    ...         yield event

    With ``dialect`` it is values that come: texts, ``ToolCallDelta``, ``Usage`` and so on, which a
    view of any dialect can yield. Nothing is passed on, then, after the dialect's own end.

    :param response: a streamed ``httpx.Response``, or any async iterable of the body's bytes. Once
        the first event was asked for, it is closed at the end, however that comes about.
    :param until: the data of the upstream's last event. Neither it is passed on nor what comes
        after it: your stream says its own end. An answer that ends without it is an error. Without
        ``until`` a truncated answer that happens to be cut between two events looks whole.
    :param dialect: what the upstream speaks: a name, or a dialect of your own. It knows its own
        end, so ``until`` is not for it.
    :param max_line: bytes of one line.
    :param max_event: bytes of the data of one event.
    :raises UpstreamStatusError: before the first event.
    :raises UpstreamFormatError: another content type than ``text/event-stream``, too long a line or
        event, nothing in it that looks like an event, or an event that is not of the dialect.
    :raises UpstreamError: an error in the dialect's own form.
    :raises UpstreamDisconnected: a broken connection, a time-out, an end within an event, before
        ``until`` or before the dialect's end.
    :raises ValueError: no dialect has this name, or ``until`` beside a dialect.
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
                    raise UpstreamFormatError("The upstream sent something else than events.")
        _check_end(decoder, any_event, reader)
    finally:
        await _close(response)


def _reader(until: str | None, dialect: str | Dialect | None) -> _Reader:
    if dialect is None:
        return _Events(until)
    if until is not None:
        raise ValueError("a dialect knows its own end: leave out until")
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
    """The seconds of a Retry-After, which has them or a date (RFC 9110, 10.2.3)."""
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
                raise TypeError(f"relay() needs chunks of bytes, not of {type(chunk).__name__}")
            yield chunk
    except Exception as error:
        failure = _relay_error(error)
        if failure is None:
            raise
        raise failure from error
    finally:
        await _close(source)


def _relay_error(error: Exception) -> RelayError | None:
    """What the error of a connection means; None for an error of another kind."""
    # httpx is optional; where nobody has imported it, nothing raises its errors.
    httpx = sys.modules.get("httpx")
    if httpx is not None and isinstance(error, httpx.DecodingError):
        return UpstreamFormatError("The upstream's content encoding cannot be decoded.")
    broken = (OSError, EOFError) if httpx is None else (OSError, EOFError, httpx.TransportError)
    if isinstance(error, broken):
        return UpstreamDisconnected("The connection to the upstream broke before the answer's end.")
    return None


def _feed(decoder: Decoder, chunk: bytes) -> tuple[list[MessageEvent], RelayError | None]:
    """The events of the chunk, and the error to raise after them."""
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
        # A NUL in the type: the standard lets it pass, we do not.
        raise UpstreamFormatError("The upstream sent an event of an invalid type.") from error


def _check_end(decoder: Decoder, any_event: bool, reader: _Reader) -> None:
    if not any_event and decoder.ignored_lines:
        raise UpstreamFormatError("The upstream sent something else than events.")
    if decoder.unfinished:
        raise UpstreamDisconnected("The upstream's answer ended before it was whole.")
    reader.end()


async def _close(source: object) -> None:
    aclose = getattr(source, "aclose", None)
    if aclose is None:
        return
    try:
        await aclose()
    except Exception as error:
        # Nothing more is wanted of the connection, so it does not matter that it breaks only now.
        if _relay_error(error) is None:
            raise
