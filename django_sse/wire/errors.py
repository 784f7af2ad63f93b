"""What can be wrong with a frame, its data or an id.

WireError                      a ValueError
├── InvalidEvent               a field of an event cannot be put on the wire
├── DataNotSerializable        the JSON encoder refuses the data
├── InvalidCursor              the text is not an id of ours
└── DecodeError                the bytes cannot be decoded within the limits
    ├── LineTooLong
    └── EventTooLong
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from django_sse.wire.decoder import MessageEvent

_EXCERPT_LENGTH: Final = 40


class WireError(ValueError):
    """The common base: text or bytes that the event stream format cannot carry."""


class InvalidEvent(WireError):
    """A field of an event has the wrong type or holds what its line cannot carry."""


class DataNotSerializable(WireError):
    """The JSON encoder refuses the data; the message names the type and the way out."""


class InvalidCursor(WireError):
    """The text does not say a position; it may come from a client, so it is quoted in part only."""


class DecodeError(WireError):
    """The decoder gave up on its stream and takes no more bytes.

    ``events`` holds what was complete before the fault in the same chunk, so that what a reader
    gets does not depend on where the network cut the bytes.
    """

    events: tuple[MessageEvent, ...] = ()


class LineTooLong(DecodeError):
    """A line has more bytes than the decoder's ``max_line``."""


class EventTooLong(DecodeError):
    """The data of one event has more bytes than the decoder's ``max_event``."""


def excerpt(text: str) -> str:
    """A repr of bounded length in ASCII: safe in a log line, whoever wrote the text."""
    if len(text) <= _EXCERPT_LENGTH:
        return ascii(text)
    return f"{text[:_EXCERPT_LENGTH]!a}... ({len(text)} characters)"
