"""The root of this library's errors, and those of the wire: a frame, its data or an id is wrong.

``django_sse.exceptions`` draws the whole tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from django_sse.wire.decoder import MessageEvent

_EXCERPT_LENGTH: Final = 40


class EventStreamError(Exception):
    """The base of every error that this library defines for its users."""


class WireError(EventStreamError, ValueError):
    """The base of the wire's errors: the event stream format cannot carry this text or bytes."""


class InvalidEvent(WireError):
    """A field of an event has the wrong type or holds what its line cannot carry."""


class DataNotSerializable(WireError):
    """The JSON encoder refuses the data; the message names the type and the way out."""


class InvalidCursor(WireError):
    """The text is not a position. A client may have sent it, so only a part of it is quoted."""


class DecodeError(WireError):
    """The decoder gave up on its stream and takes no more bytes.

    ``events`` holds the events of the same chunk that were complete before the fault, so that the
    result does not depend on where the network cut the bytes.
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
