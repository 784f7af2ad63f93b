"""Event: one event on its way to the wire. An invalid event cannot be constructed.

The event stream format is line based and has no escapes, so a line end inside a field would start
a new line, and possibly a new frame (WHATWG HTML, 9.2.5). Hence the rules:

- ``event``: no CR, LF or NUL; not empty (a parser takes an empty type for no type);
- ``id``: printable ASCII, because it comes back in an HTTP header, which mangles everything else;
- ``retry``: an integer of milliseconds;
- ``data``: may have line ends (the encoder splits there), but must be text that UTF-8 can encode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django_sse.wire.errors import InvalidEvent, excerpt

#: Characters in an id. It must fit in one header line, with room to spare, on every server. The
#: longest that this library makes is a cursor of 32 channels, with 1247.
MAX_ID_LENGTH: Final = 1280
#: Milliseconds (24.8 days). Browsers hold a timer's delay in a signed 32-bit integer.
MAX_RETRY: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    ``data`` is sent as it is if it is a ``str``, and as JSON otherwise (``None`` is ``null``).
    ``event`` is the event type; without one the client sees ``message``. ``id`` is 1 to 1280
    printable ASCII characters, which the client sends back as Last-Event-ID; the header does not
    preserve spaces at either end. ``retry`` is the reconnection time in milliseconds, 0 to
    2**31 - 1.

    The constructor raises ``InvalidEvent`` for a field of another type, or with text that a line of
    the format cannot carry.
    """

    data: object
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def __init__(
        self,
        data: object,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
    ) -> None:
        # The __init__ that dataclass generates for a frozen class looks up each slot by name, which
        # takes twice as long.
        _set_data(self, check_data(data))
        _set_event(self, None if event is None else check_type(event))
        _set_id(self, None if id is None else check_id(id))
        _set_retry(self, None if retry is None else check_retry(retry))


_set_data = Event.__dict__["data"].__set__
_set_event = Event.__dict__["event"].__set__
_set_id = Event.__dict__["id"].__set__
_set_retry = Event.__dict__["retry"].__set__


def plain(text: str) -> str:
    """Return the characters of a ``str`` subclass (an enum member, say), bypassing its ``__str__``.

    The text that is written is then the text that was checked.
    """
    return str.__str__(text)


def check_data(data: object) -> object:
    """Return ``data``. Raises ``InvalidEvent`` if it is binary or has lone surrogates."""
    if isinstance(data, str):
        if not data.isascii():
            check_encodable(data, "data")
    elif isinstance(data, (bytes, bytearray, memoryview)):
        raise InvalidEvent(
            f"data must be text or JSON, not {type(data).__name__}. "
            "An event stream carries only UTF-8 text: decode the data first "
            "(data.decode(), or base64 for binary content)"
        )
    return data


def check_encodable(text: str, field: str) -> None:
    """Raise ``InvalidEvent`` if ``text`` has lone surrogates, which UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise not_encodable(field, error) from error


def not_encodable(field: str, error: UnicodeEncodeError) -> InvalidEvent:
    """Return the ``InvalidEvent`` for a ``field`` with a lone surrogate."""
    return InvalidEvent(
        f"{field} has a lone surrogate at index {error.start}, which UTF-8 cannot encode: "
        "clean the text with .encode('utf-8', 'replace').decode() where you receive it"
    )


def check_type(event: object) -> str:
    """Return the event type as a plain ``str``.

    Raises ``InvalidEvent`` if it is not a ``str``, is empty, contains CR, LF or NUL, or cannot be
    encoded.
    """
    if not isinstance(event, str):
        raise InvalidEvent(f"event must be a str, not {type(event).__name__}")
    if type(event) is not str:
        event = plain(event)
    if not event:
        raise InvalidEvent("event must not be empty: leave it out (None) for the type 'message'")
    if "\n" in event or "\r" in event or "\0" in event:
        raise InvalidEvent(
            f"event must not contain CR, LF or NUL, but is {excerpt(event)}: "
            "put text from users in data, where line ends are safe"
        )
    if not event.isascii():
        check_encodable(event, "event")
    return event


def check_id(id: object) -> str:
    """Return the id as a plain ``str``.

    Raises ``InvalidEvent`` if it is not a ``str``, is empty, is too long, or is not printable
    ASCII.
    """
    if not isinstance(id, str):
        raise InvalidEvent(f"id must be a str, not {type(id).__name__}: use str(...)")
    if type(id) is not str:
        id = plain(id)
    if not id:
        raise InvalidEvent("id must not be empty: leave it out (None) to send no id")
    if len(id) > MAX_ID_LENGTH:
        raise InvalidEvent(f"id must have at most {MAX_ID_LENGTH} characters, not {len(id)}")
    # For ASCII, "printable" is exactly 0x20 to 0x7e.
    if not (id.isascii() and id.isprintable()):
        raise InvalidEvent(
            f"id must be printable ASCII, but is {excerpt(id)}: "
            "the client sends it back in the Last-Event-ID header, which mangles everything else"
        )
    return id


def check_retry(retry: object) -> int:
    """Return the reconnection time in milliseconds.

    Raises ``InvalidEvent`` if it is not an ``int``, is a ``bool``, is negative, or is over
    2**31 - 1.
    """
    if not isinstance(retry, int) or isinstance(retry, bool):
        raise InvalidEvent(
            f"retry must be an int of milliseconds, not {type(retry).__name__}: "
            "for seconds use int(seconds * 1000)"
        )
    if not 0 <= retry <= MAX_RETRY:
        raise InvalidEvent(f"retry must be from 0 to {MAX_RETRY} milliseconds")
    return retry
