"""The plain dialect, this library's own: events as they are yielded, and a terminal event."""

from __future__ import annotations

from json import JSONEncoder
from typing import Any

from django_sse.dialects.base import AnswerDecoder, AnswerEncoder, Dialect
from django_sse.dialects.values import Value
from django_sse.exceptions import InvalidEvent, UpstreamDisconnected
from django_sse.wire.encoder import encode, encode_data
from django_sse.wire.event import Event

DONE = Event("[DONE]", event="close")
"""The default terminal event. It shows a client that the stream is complete and was not cut."""


class PlainEncoder(AnswerEncoder):
    """The encoder of items: an ``Event`` is sent as it is, anything else is an event's data."""

    stateless = True

    def __init__(self, terminal: Event | None = DONE) -> None:
        self._terminal = [] if terminal is None else [terminal]
        self.ends_silently = terminal is None

    def encode(self, value: Any) -> list[Event]:
        return [value if isinstance(value, Event) else Event(value)]

    def frames(self, value: Any, json: type[JSONEncoder]) -> bytes:
        return encode(value, json) if isinstance(value, Event) else encode_data(value, json)

    def is_bare(self, value: Any) -> bool:
        return not isinstance(value, Event)

    def done(self) -> list[Event]:
        return self._terminal

    def failed(self, message: str, code: str = "error") -> list[Event]:
        return [Event({"error": message, "code": code}, event="error")]

    def aborted(self) -> list[Event]:
        return self.failed("The stream was aborted.", "aborted")


PLAIN = PlainEncoder()
"""The encoder with the default terminal event. It has no state, so all streams share it."""


class PlainDecoder(AnswerDecoder):
    """The decoder of events into text, up to the default terminal event."""

    def __init__(self) -> None:
        self._ended = False

    @property
    def ended(self) -> bool:
        return self._ended

    def decode(self, event: Event) -> list[Value]:
        if self._ended or (event.event, event.data) == (DONE.event, DONE.data):
            self._ended = True
            return []
        return [str(event.data)]

    def end(self) -> None:
        if not self._ended:
            raise UpstreamDisconnected("The upstream's answer ended without its terminal event.")


class Plain(Dialect):
    """The dialect of a stream that names no other.

    ``terminal`` is the event that ends a complete stream. With None the stream ends without one,
    and an EventSource reconnects and runs the view again. Raises ``InvalidEvent`` if ``terminal``
    has an id.
    """

    name = "plain"
    has_stream_events = True

    def __init__(self, terminal: Event | None = DONE) -> None:
        if terminal is not None and terminal.id is not None:
            raise InvalidEvent(
                "The terminal event must not have an id. The library sets the id itself, to "
                "recognize a client that has seen the end. Remove id= from terminal."
            )
        self._terminal = terminal
        self._encoder = PLAIN if terminal == DONE else PlainEncoder(terminal)

    def check_resumable(self) -> None:
        if self._terminal is None:
            raise TypeError("A resumable stream must have an end: terminal must not be None.")
        if self._terminal.retry is not None:
            raise ValueError(
                "The terminal event of a resumable stream must not have a retry, because the log "
                "does not store one. Remove retry= from terminal."
            )

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return self._encoder

    def decoder(self) -> AnswerDecoder:
        return PlainDecoder()
