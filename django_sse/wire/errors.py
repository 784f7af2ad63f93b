"""The root of this library's errors, and the errors of the wire format.

``django_sse.exceptions`` shows the whole tree.
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
    """A field of an event has the wrong type, or text that a line of the format cannot carry."""


class DataNotSerializable(WireError):
    """The JSON encoder refuses the data; the message names the type and how to fix it."""


class InvalidCursor(WireError):
    """The text is not a cursor. A client may have sent it, so the message quotes only its start."""


class DecodeError(WireError):
    """The decoder cannot decode its stream and accepts no more bytes.

    ``events`` holds the events of the same chunk that were complete before the fault, so the result
    does not depend on where the network cut the bytes.
    """

    events: tuple[MessageEvent, ...] = ()


class LineTooLong(DecodeError):
    """A line has more bytes than the decoder's ``max_line``."""


class EventTooLong(DecodeError):
    """The data of one event has more bytes than the decoder's ``max_event``."""


def excerpt(text: str) -> str:
    """Return an ASCII repr of bounded length: safe in a log line for text from anywhere."""
    if len(text) <= _EXCERPT_LENGTH:
        return ascii(text)
    return f"{text[:_EXCERPT_LENGTH]!a}... ({len(text)} characters)"
