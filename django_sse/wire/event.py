"""Event: one event on its way to the wire; an invalid one cannot be constructed.

The event stream format is line based and has no escapes, so a field that holds a line end would
start a line, and a frame, of its own (WHATWG HTML, 9.2.5). Hence the rules:

- ``event``: no CR, LF or NUL, not empty (an empty type means none at all to the parser);
- ``id``: printable ASCII, since it comes back in an HTTP header, which mangles all else;
- ``retry``: an integer of milliseconds;
- ``data``: any line ends (the encoder splits there), but text that UTF-8 can carry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django_sse.wire.errors import InvalidEvent, excerpt

#: Characters in an id: it has to fit in one header line with room to spare on every server.
MAX_ID_LENGTH: Final = 1024
#: Milliseconds (24.8 days): the longest timer that browsers take, a signed 32-bit integer.
MAX_RETRY: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    :param data: a ``str`` is sent as it is, anything else as JSON (``None`` is ``null``).
    :param event: the event type; without one the client sees ``message``.
    :param id: what the client brings back as Last-Event-ID; 1 to 1024 printable ASCII characters.
        Spaces at either end do not survive the header.
    :param retry: the reconnection time in milliseconds, 0 to 2**31 - 1.
    :raises InvalidEvent: for a field of another type or with text its line cannot carry.
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
        # What dataclass writes for a frozen class looks each slot up by name: twice as long.
        _set_data(self, check_data(data))
        _set_event(self, None if event is None else check_type(event))
        _set_id(self, None if id is None else check_id(id))
        _set_retry(self, None if retry is None else check_retry(retry))


_set_data = Event.__dict__["data"].__set__
_set_event = Event.__dict__["event"].__set__
_set_id = Event.__dict__["id"].__set__
_set_retry = Event.__dict__["retry"].__set__


def plain(text: str) -> str:
    """The characters of a ``str`` subclass (an enum member, say), whatever its ``__str__`` tells.

    What was checked is then what is written.
    """
    return str.__str__(text)


def check_data(data: object) -> object:
    """The data, unless it is binary or text with lone surrogates.

    :raises InvalidEvent: names the way out.
    """
    if isinstance(data, str):
        if not data.isascii():
            check_encodable(data, "data")
    elif isinstance(data, (bytes, bytearray, memoryview)):
        raise InvalidEvent(
            f"data must be text or JSON, not {type(data).__name__}: "
            "an event stream carries UTF-8 text only, so decode it first "
            "(data.decode(), or base64 for binary content)"
        )
    return data


def check_encodable(text: str, field: str) -> None:
    """Refuse lone surrogates: UTF-8 has no bytes for them.

    :raises InvalidEvent: names the field and the place.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise not_encodable(field, error) from error


def not_encodable(field: str, error: UnicodeEncodeError) -> InvalidEvent:
    """The InvalidEvent for text with a lone surrogate."""
    return InvalidEvent(
        f"{field} has a lone surrogate at index {error.start}, which UTF-8 cannot encode: "
        "make the text with .encode('utf-8', 'replace').decode() where it comes in"
    )


def check_type(event: object) -> str:
    """The event type, as a plain ``str``.

    :raises InvalidEvent: not a str, empty, with CR, LF or NUL, or not encodable.
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
            "put text from outside in data, where line ends are safe"
        )
    if not event.isascii():
        check_encodable(event, "event")
    return event


def check_id(id: object) -> str:
    """The id, as a plain ``str``.

    :raises InvalidEvent: not a str, empty, over-long, or not printable ASCII.
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
            "it comes back in the Last-Event-ID header, which mangles everything else"
        )
    return id


def check_retry(retry: object) -> int:
    """The reconnection time in milliseconds.

    :raises InvalidEvent: not an int (a bool is none), negative or over 2**31 - 1.
    """
    if not isinstance(retry, int) or isinstance(retry, bool):
        raise InvalidEvent(
            f"retry must be an int of milliseconds, not {type(retry).__name__}: "
            "for seconds use int(seconds * 1000)"
        )
    if not 0 <= retry <= MAX_RETRY:
        raise InvalidEvent(f"retry must be 0 to {MAX_RETRY} milliseconds")
    return retry
