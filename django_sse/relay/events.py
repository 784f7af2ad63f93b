"""``relay``: an upstream's bytes become events or values, in small steps and within limits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol, overload

from django_sse.dialects import Dialect, Value, get_dialect
from django_sse.exceptions import UpstreamDisconnected, UpstreamFormatError, UpstreamLimitError
from django_sse.relay.limits import MAX_BYTES, MAX_SECONDS, MAX_SILENCE, Limits
from django_sse.relay.response import Upstream, body, check_head, close
from django_sse.wire.decoder import MAX_EVENT, MAX_LINE, Decoder, MessageEvent
from django_sse.wire.errors import DecodeError, InvalidEvent, LineTooLong
from django_sse.wire.event import Event

# The standard says to ignore unknown fields, so the decoder would silently read a page of HTML to
# its end. After this many such lines and no event, the body is not an event stream.
_MAX_IGNORED_LINES: Final = 100


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
    max_bytes: int | None = MAX_BYTES,
    max_seconds: float | None = MAX_SECONDS,
    max_silence: float | None = MAX_SILENCE,
) -> AsyncGenerator[Event, None]: ...


@overload
def relay(
    response: Upstream,
    *,
    dialect: str | Dialect,
    max_line: int = MAX_LINE,
    max_event: int = MAX_EVENT,
    max_bytes: int | None = MAX_BYTES,
    max_seconds: float | None = MAX_SECONDS,
    max_silence: float | None = MAX_SILENCE,
) -> AsyncGenerator[Value, None]: ...


async def relay(
    response: Upstream,
    *,
    until: str | None = None,
    dialect: str | Dialect | None = None,
    max_line: int = MAX_LINE,
    max_event: int = MAX_EVENT,
    max_bytes: int | None = MAX_BYTES,
    max_seconds: float | None = MAX_SECONDS,
    max_silence: float | None = MAX_SILENCE,
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

    ``max_bytes`` limits the bytes of the whole body, after decompression; ``max_seconds`` the time
    from the first request for an event to the end; ``max_silence`` the seconds in which nothing
    comes that ``relay`` yields, whatever comments and other events come. None means no limit.

    Other tasks get their turn between the pieces of a body, however large its chunks are.

    Raises ``UpstreamStatusError`` before the first event; ``UpstreamFormatError`` for a content
    type other than ``text/event-stream``, a content encoding other than gzip and deflate, a body
    without events, or an event that does not belong to the dialect; ``UpstreamLimitError`` for a
    body over one of the limits, or JSON with too many values, levels or calls; ``UpstreamError``
    for an error in the dialect's own form; ``UpstreamDisconnected`` for a broken connection, a
    time-out, or an end within an event, before ``until`` or before the dialect's end; and
    ``ValueError`` if no dialect has this name, for ``until`` with a dialect, or for a limit of 0.
    """
    try:
        limits = Limits(max_bytes, max_seconds, max_silence)
        answer = _Answer(_reader(until, dialect), Decoder(max_line, max_event))
        check_head(response)
        async with aclosing(body(response)) as pieces:
            while (piece := await limits.next(pieces)) is not None:
                allowed, excess = limits.cut(piece)
                for values in answer.read(allowed):
                    await limits.give_turn()
                    for value in values:
                        yield value
                        limits.note_content()
                        await limits.give_turn()
                if answer.ended:
                    return
                if excess is not None:
                    raise excess
        answer.end()
    finally:
        await close(response)


def _reader(until: str | None, dialect: str | Dialect | None) -> _Reader:
    if dialect is None:
        return _Events(until)
    if until is not None:
        raise ValueError(
            "until is not allowed with a dialect, which defines its own end: remove it"
        )
    return get_dialect(dialect).decoder()


class _Answer:
    """The reading of one answer: pieces of its body in, values out."""

    def __init__(self, reader: _Reader, decoder: Decoder) -> None:
        self._reader = reader
        self._decoder = decoder
        self._any_event = False

    @property
    def ended(self) -> bool:
        return self._reader.ended

    def read(self, piece: bytes) -> Iterator[Sequence[object]]:
        """Yield the values of each event that the piece completes, and nothing between steps."""
        messages, failure = self._feed(piece)
        yield ()
        for message in messages:
            self._any_event = True
            yield self._reader.decode(_event(message))
            if self.ended:
                return
        if failure is not None:
            raise failure
        if not self._any_event and self._decoder.ignored_lines > _MAX_IGNORED_LINES:
            raise _no_event_stream()

    def _feed(self, piece: bytes) -> tuple[Sequence[MessageEvent], UpstreamLimitError | None]:
        """Return the events of the piece, and the error to raise after them."""
        try:
            return self._decoder.feed(piece), None
        except DecodeError as error:
            limit = "max_line" if isinstance(error, LineTooLong) else "max_event"
            what = "a line" if isinstance(error, LineTooLong) else "an event"
            failure = UpstreamLimitError(limit, f"The upstream sent {what} that is too long.")
            failure.__cause__ = error
            return error.events, failure

    def end(self) -> None:
        """Check, at the end of the body, that the answer is complete."""
        if not self._any_event and self._decoder.ignored_lines:
            raise _no_event_stream()
        if self._decoder.unfinished:
            raise UpstreamDisconnected("The upstream's answer ended before it was complete.")
        self._reader.end()


def _no_event_stream() -> UpstreamFormatError:
    return UpstreamFormatError("The upstream's body is not an event stream.")


def _event(message: MessageEvent) -> Event:
    try:
        return Event(message.data, event=None if message.type == "message" else message.type)
    except InvalidEvent as error:
        # The type has a NUL: the standard allows it, this library does not.
        raise UpstreamFormatError("The upstream sent an event with an invalid type.") from error
