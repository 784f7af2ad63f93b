"""All errors of the package, in one tree.

::

    EventStreamError (Exception)            the root; django_sse.wire has it, too
    ├── WireError (ValueError)              text or bytes that cannot go on the wire
    │   ├── InvalidEvent                    a field that could forge a frame or lose text
    │   ├── DataNotSerializable             data that the JSON encoder refuses
    │   ├── InvalidCursor                   an id that is not one of this library's positions
    │   └── DecodeError                     an upstream's stream cannot be decoded
    │       ├── LineTooLong
    │       └── EventTooLong
    ├── InvalidChannel (ValueError)         a name that a project's channel cannot have
    ├── InvalidKey (ValueError)             a key that names no event
    ├── EventTooLarge (ValueError)          more bytes than MAX_EVENT_BYTES
    ├── InexpressibleValue (ValueError)     the stream's dialect has no form for this value
    ├── ChannelFinished                     a publish after the channel's terminal event
    ├── PublishNotAllowed                   the wrong thread or transaction state, and the way out
    ├── LogUnavailable                      the log's database did not answer
    │   └── ChannelLocked                   another transaction has locked the channel's row
    ├── Overloaded                          this process has reached one of its limits
    ├── TooManyRuns                         this owner has as many runs in progress as allowed
    ├── TooManyStreams                      this owner has as many open streams as allowed
    ├── StreamError                         a generator raises it: its text is for the client
    │   └── RelayError                      an upstream's answer; django_sse.relay
    │       ├── UpstreamStatusError         the status is not 200
    │       ├── UpstreamFormatError         no event stream, or another dialect
    │       ├── UpstreamLimitError          longer, larger or slower than relay allows
    │       ├── UpstreamError               the upstream reports that it failed
    │       └── UpstreamDisconnected        the answer ended before it was complete
    └── ImmediateHttpResponse               not an error: an answer instead of a stream
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from django_sse.wire.errors import (
    DataNotSerializable,
    DecodeError,
    EventStreamError,
    EventTooLong,
    InvalidCursor,
    InvalidEvent,
    LineTooLong,
    WireError,
)

if TYPE_CHECKING:
    from django.http import HttpResponseBase

_TOKEN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")

__all__ = [
    "ChannelFinished",
    "ChannelLocked",
    "DataNotSerializable",
    "DecodeError",
    "EventStreamError",
    "EventTooLarge",
    "EventTooLong",
    "ImmediateHttpResponse",
    "InexpressibleValue",
    "InvalidChannel",
    "InvalidCursor",
    "InvalidEvent",
    "InvalidKey",
    "LineTooLong",
    "LogUnavailable",
    "Overloaded",
    "PublishNotAllowed",
    "RelayError",
    "StreamError",
    "TooManyRuns",
    "TooManyStreams",
    "UpstreamDisconnected",
    "UpstreamError",
    "UpstreamFormatError",
    "UpstreamLimitError",
    "UpstreamStatusError",
    "WireError",
]


class InvalidChannel(EventStreamError, ValueError):
    """The name is empty or too long, has a forbidden character, or is reserved for the library."""


class InvalidKey(EventStreamError, ValueError):
    """The key of an event is empty, too long or no ``str``."""


class EventTooLarge(EventStreamError, ValueError):
    """The encoded event is larger than ``MAX_EVENT_BYTES``, or than MySQL or MariaDB take."""


class InexpressibleValue(EventStreamError, ValueError):
    """The dialect of a stream cannot express a value; raised at the generator's yield."""

    @classmethod
    def of(cls, dialect: str, value: object, reason: str, instead: str) -> InexpressibleValue:
        """Return the error that names the dialect, the value's type, the reason and the way out."""
        return cls(
            f"the dialect {dialect!r} cannot express this {type(value).__name__}: {reason}. "
            f"Yield {instead}"
        )


class ChannelFinished(EventStreamError):
    """The channel has its terminal event, and nothing can follow it."""

    @classmethod
    def of(cls, channel: str, state: str) -> ChannelFinished:
        return cls(
            f"The channel {channel!r} has finished ({state}): nothing can come after its terminal "
            "event. Publish to another channel."
        )


class PublishNotAllowed(EventStreamError):
    """``publish`` cannot work here; the message names the call that can."""


class LogUnavailable(EventStreamError):
    """The log could not be read or written; ``__cause__`` is the database's own error."""


class ChannelLocked(LogUnavailable):
    """Nothing was written: another transaction has locked the row of ``channel`` (its name)."""

    def __init__(self, channel: str) -> None:
        super().__init__(
            f"The channel {channel!r} is locked by another transaction, so nothing was written "
            'to it. The section "Locks" of docs/operations.md says how to find that transaction, '
            "and which time-outs end one whose client is gone."
        )
        self.channel = channel


class Overloaded(EventStreamError):
    """This process has reached its limit of streams of this kind."""


class TooManyRuns(EventStreamError):
    """One owner has as many runs in progress as ``LIMITS`` allow."""


class TooManyStreams(EventStreamError):
    """One owner has as many open streams, or sync generators, as ``LIMITS`` allow."""


class StreamError(EventStreamError):
    """Raised by a generator to end its stream with ``event: error`` and this message.

    Of any other exception the client learns only that the stream failed.
    """


class RelayError(StreamError):
    """The upstream's answer cannot be passed on completely."""


class UpstreamStatusError(RelayError):
    """The upstream answered with a status other than 200.

    ``retry_after`` is the seconds after which it wants to be asked again, if it said so.
    """

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"The upstream answered with status {status} instead of an event stream.")
        self.status = status
        self.retry_after = retry_after


class UpstreamFormatError(RelayError):
    """The upstream sent no event stream, or an event that does not belong to its dialect."""


class UpstreamLimitError(RelayError):
    """The upstream's answer is over a limit, so the rest of it was not read.

    ``limit`` is the name of ``relay``'s argument that sets the limit. For the limits that are fixed
    it is ``"calls"``, ``"arguments"`` or ``"json"``.
    """

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(message)
        self.limit = limit


class UpstreamError(RelayError):
    """The upstream sent an error of its own within the stream.

    ``code`` is the upstream's own code for it, if that is one short ASCII word.
    """

    def __init__(self, code: object = None) -> None:
        # No other text of the upstream may reach a client, and the code only as a bare word.
        self.code = code if isinstance(code, str) and _TOKEN.fullmatch(code) else None
        said = "" if self.code is None else f" ({self.code})"
        super().__init__(f"The upstream failed while it was answering{said}.")


class UpstreamDisconnected(RelayError):
    """The upstream's answer ended, or its connection broke, before the answer was complete."""


class ImmediateHttpResponse(EventStreamError):
    """Raised by a generator before its first item to answer with ``response`` instead.

    >>> raise ImmediateHttpResponse(redirect("login"))
    """

    def __init__(self, response: HttpResponseBase) -> None:
        super().__init__("an HTTP response instead of a stream")
        self.response = response
