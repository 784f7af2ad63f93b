"""From what a caller wrote to an ``Entry``, or an error that says what was wrong with it."""

from __future__ import annotations

import re
from typing import Any, Final

from django_sse import conf
from django_sse.exceptions import EventTooLarge, InvalidChannel, InvalidEvent
from django_sse.log.base import Entry, Kind, State, new_entry
from django_sse.models import NAME_LENGTH, RUN_PREFIX, TYPE_LENGTH
from django_sse.wire.encoder import data_text
from django_sse.wire.event import Event, check_data

_EVENT, _OPEN = int(Kind.EVENT), State.OPEN.value
# C0, DEL, C1; and surrogates, which no database can store as UTF-8.
_REFUSED_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# What the names of the library's own channels begin with, and what to do instead. A view may make a
# channel's name of what a client wrote: whoever guesses or learns such a name must neither read nor
# write there.
_INTERNAL: Final = {
    RUN_PREFIX: (
        "a run's channel. Only its generator writes to it; to read or stop the run use its own "
        "views (django_sse.urls), which check whose it is"
    ),
}


def validate_channel(name: object, *, internal: bool = False) -> str:
    """``name`` itself, or ``InvalidChannel``.

    ``internal`` lets the library's own channels pass: for the library itself, an operator's
    commands and tests, never for a name that may come from a request.
    """
    if not isinstance(name, str):
        raise InvalidChannel(f"A channel's name must be a str, not {type(name).__name__}.")
    if not name:
        raise InvalidChannel("A channel's name must not be empty.")
    if len(name) > NAME_LENGTH:
        raise InvalidChannel(
            f"A channel's name has at most {NAME_LENGTH} characters, this one has {len(name)}."
        )
    if _REFUSED_IN_NAMES.search(name):
        raise InvalidChannel(f"A channel's name has no control characters: {name!r}.")
    if not internal:
        _refuse_internal(name)
    return name


def _refuse_internal(name: str) -> None:
    for prefix, what in _INTERNAL.items():
        if name.startswith(prefix):
            raise InvalidChannel(
                f"{name!r} is {what}. Names that begin with {prefix!r} are the library's own: "
                "give your channel another name."
            )


def as_event(data: Any, event: str | None = None) -> Event:
    """``data`` as an ``Event``. An ``Event`` passes as it is; then ``event`` must be None."""
    if not isinstance(data, Event):
        return Event(data, event=event)
    if event is not None:
        raise InvalidEvent("Give the event type in the Event or as event=, not both.")
    return data


def make_entry(
    channel: str, event: Event, *, kind: Kind = Kind.EVENT, state: str = State.OPEN
) -> Entry:
    """The entry for ``event``.

    Raises ``InvalidChannel``, ``InvalidEvent``, ``DataNotSerializable``, ``EventTooLarge``.
    """
    return entry_of(validate_channel(channel), event, kind, state)


def entry_of(channel: str, event: Event, kind: Kind = Kind.EVENT, state: str = State.OPEN) -> Entry:
    """``make_entry`` for a ``channel`` that was validated."""
    if event.id is not None or event.retry is not None:
        raise InvalidEvent(
            "A published event has no id and no retry of its own: the log numbers it, and the "
            "stream tells the reconnection time. Remove them."
        )
    kind_of_event = event.event or ""
    if len(kind_of_event) > TYPE_LENGTH:
        raise InvalidEvent(f"A published event's type has at most {TYPE_LENGTH} characters.")
    return new_entry((channel, kind_of_event, _text_of(event.data), kind, state))


def data_entry(channel: str, data: Any) -> Entry:
    """``entry_of`` for an event that is nothing but its data."""
    return new_entry((channel, "", _text_of(check_data(data)), _EVENT, _OPEN))


def _text_of(data: Any) -> str:
    text = data_text(data, conf.json_encoder())
    if "\x00" in text:
        raise InvalidEvent("The data has a NUL character, which PostgreSQL cannot store.")
    most = conf.current().LIMITS.MAX_EVENT_BYTES
    # A character is up to four bytes: most texts need not be encoded to be measured.
    if len(text) * 4 > most and (size := len(text.encode())) > most:
        raise EventTooLarge(
            f"The data is {size} bytes, more than MAX_EVENT_BYTES ({most}). Store it elsewhere and "
            "publish a reference to it."
        )
    return text
