"""Validation: turns a caller's arguments into an ``Entry``, or raises an error that explains."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from django_sse import conf
from django_sse.exceptions import EventTooLarge, InvalidChannel, InvalidEvent, InvalidKey
from django_sse.internal_channels import is_internal
from django_sse.log.base import Entry, Kind, State, new_entry
from django_sse.models import NAME_LENGTH, TYPE_LENGTH
from django_sse.wire.encoder import data_text
from django_sse.wire.event import Event, check_data

KEY_LENGTH = 200
_EVENT, _OPEN = int(Kind.EVENT), State.OPEN.value
# C0, DEL and C1, and surrogates, which no database can store as UTF-8.
_REFUSED_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def validate_channel(name: object, *, internal: bool = False) -> str:
    """Return ``name``. Raises ``InvalidChannel`` if it is not a valid channel name.

    ``internal`` also allows the names of internal channels. It is for the library itself,
    operators' commands and tests, never for a name that may come from a request.
    """
    if not isinstance(name, str):
        raise InvalidChannel(f"A channel's name must be a str, not {type(name).__name__}.")
    if not name:
        raise InvalidChannel("A channel's name must not be empty.")
    if len(name) > NAME_LENGTH:
        raise InvalidChannel(
            f"A channel's name must have at most {NAME_LENGTH} characters, not {len(name)}."
        )
    if is_internal(name) and not internal:
        raise InvalidChannel(
            f"{name!r} is not a channel of yours: names that begin with U+001F are the library's "
            "own. To read or stop a run, use the views in django_sse.urls, which check its owner. "
            "Give your channel a name without control characters."
        )
    if _REFUSED_IN_NAMES.search(name, 1 if is_internal(name) else 0):
        raise InvalidChannel(
            f"A channel's name must not have control characters or surrogates: {name!r}."
        )
    return name


def as_event(data: Any, event: str | None = None) -> Event:
    """Return ``data`` as an ``Event``. If it is an ``Event`` already, ``event`` must be None."""
    if not isinstance(data, Event):
        return Event(data, event=event)
    if event is not None:
        raise InvalidEvent("Pass the event type in the Event or as event=, not both.")
    return data


def make_entry(
    channel: str,
    event: Event,
    *,
    kind: Kind = Kind.EVENT,
    state: str = State.OPEN,
    key: str | None = None,
) -> Entry:
    """Return the entry for ``event``.

    Raises ``InvalidChannel``, ``InvalidEvent``, ``InvalidKey``, ``DataNotSerializable`` or
    ``EventTooLarge``.
    """
    entry = entry_of(validate_channel(channel), event, kind, state)
    return entry if key is None else entry._replace(key_hash=key_hash(channel, key))


def key_hash(channel: str, key: object) -> str:
    """Return the hash of the channel and an event's key that the log stores.

    Raises ``InvalidKey``.
    """
    if not isinstance(key, str):
        raise InvalidKey(
            f"A key must be a str, not {type(key).__name__}. It names the event in its channel, "
            'for example key=f"order-{order.pk}-paid".'
        )
    if not key:
        raise InvalidKey(
            "A key must not be empty: all events with it would count as one. Pass key=None to "
            "publish without a key."
        )
    if len(key) > KEY_LENGTH:
        raise InvalidKey(f"A key must have at most {KEY_LENGTH} characters, not {len(key)}.")
    # No channel's name has a line end. A lone surrogate cannot be stored, but it can be hashed.
    return hashlib.sha256(f"{channel}\n{key}".encode(errors="surrogatepass")).hexdigest()


def entry_of(channel: str, event: Event, kind: Kind = Kind.EVENT, state: str = State.OPEN) -> Entry:
    """Return the entry for ``event`` on a ``channel`` whose name was validated before."""
    if event.id is not None or event.retry is not None:
        raise InvalidEvent(
            "A published event must not have an id or a retry: the log assigns the id, and the "
            "stream sets the reconnection time. Remove them."
        )
    kind_of_event = event.event or ""
    if len(kind_of_event) > TYPE_LENGTH:
        raise InvalidEvent(
            f"A published event's type must have at most {TYPE_LENGTH} characters, "
            f"not {len(kind_of_event)}."
        )
    return new_entry((channel, kind_of_event, _text_of(event.data), kind, state, ""))


def data_entry(channel: str, data: Any) -> Entry:
    """Return the entry for an event that has only data."""
    return new_entry((channel, "", _text_of(check_data(data)), _EVENT, _OPEN, ""))


def _text_of(data: Any) -> str:
    text = data_text(data, conf.json_encoder())
    if "\x00" in text:
        raise InvalidEvent(
            "The data has a NUL character, which PostgreSQL cannot store: remove it."
        )
    most = conf.current().LIMITS.MAX_EVENT_BYTES
    # A character has at most four bytes, so most texts need not be encoded to be measured.
    if len(text) * 4 > most and (size := len(text.encode())) > most:
        raise EventTooLarge(
            f"The data is {size} bytes, more than MAX_EVENT_BYTES ({most}). Store it elsewhere and "
            "publish a reference to it."
        )
    return text
