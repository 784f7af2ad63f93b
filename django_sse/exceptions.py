"""What can go wrong, in one tree.

::

    WireError (ValueError)             django_sse.wire: what a caller wrote cannot go on the wire
    ├── InvalidEvent                   a field that could forge a frame or lose text
    ├── DataNotSerializable            data that the JSON encoder refuses
    ├── InvalidCursor                  an id that is not a position of ours
    └── DecodeError                    an upstream's stream
        ├── LineTooLong
        └── EventTooLong
    EventStreamError (Exception)       everything else of ours
    ├── InvalidChannel (ValueError)    a name that no channel may have
    ├── EventTooLarge (ValueError)     more than MAX_EVENT_BYTES
    ├── ChannelFinished                a publish that can see the channel's end
    ├── PublishNotAllowed              the wrong thread or transaction state, and the way out
    ├── LogUnavailable                 the log's database did not answer
    ├── Overloaded                     a limit of this process is reached
    ├── StreamError                    raised by a generator: its text is for the client
    │   └── RelayError …               django_sse.relay
    └── ImmediateHttpResponse          not an error: an answer instead of a stream
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_sse.wire.errors import (
    DataNotSerializable,
    DecodeError,
    EventTooLong,
    InvalidCursor,
    InvalidEvent,
    LineTooLong,
    WireError,
)

if TYPE_CHECKING:
    from django.http import HttpResponseBase

__all__ = [
    "ChannelFinished",
    "DataNotSerializable",
    "DecodeError",
    "EventStreamError",
    "EventTooLarge",
    "EventTooLong",
    "ImmediateHttpResponse",
    "InvalidChannel",
    "InvalidCursor",
    "InvalidEvent",
    "LineTooLong",
    "LogUnavailable",
    "Overloaded",
    "PublishNotAllowed",
    "StreamError",
    "WireError",
]


class EventStreamError(Exception):
    """Base of this library's own errors outside the wire."""


class InvalidChannel(EventStreamError, ValueError):
    """The name is empty, too long, or has characters no channel name may have."""


class EventTooLarge(EventStreamError, ValueError):
    """The encoded event is larger than ``MAX_EVENT_BYTES``."""


class ChannelFinished(EventStreamError):
    """The channel has its terminal event: nothing can come after it."""

    @classmethod
    def of(cls, channel: str, state: str) -> ChannelFinished:
        return cls(
            f"The channel {channel!r} has finished ({state}): nothing can come after its terminal "
            "event. Publish to another channel."
        )


class PublishNotAllowed(EventStreamError):
    """``publish`` cannot keep its promise here; the message names the call that can."""


class LogUnavailable(EventStreamError):
    """The log could not be read or written just now; the cause is the database's own error."""


class Overloaded(EventStreamError):
    """This process serves as many streams of this kind as it may."""


class StreamError(EventStreamError):
    """Raised by a generator to end its stream with ``event: error`` and this message.

    Of every other exception the client hears only that there was one.
    """


class ImmediateHttpResponse(EventStreamError):
    """Raised by a generator before its first item to answer with ``response`` instead.

    >>> raise ImmediateHttpResponse(redirect("login"))
    """

    def __init__(self, response: HttpResponseBase) -> None:
        super().__init__("an HTTP response instead of a stream")
        self.response = response
