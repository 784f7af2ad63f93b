"""The empty epoch: the epoch of a channel that has no row, because nothing was published to it yet.

It is ``~``, ten characters that identify the channel without revealing its name, and six for the
minute in which the channel had no row. So a subscription writes nothing, whatever name a client
makes up.

A client with such a position has missed nothing if the channel still has no row, or has a row with
all its events, unless a row was removed meanwhile. A row must not be removed earlier than
``RETENTION["AGE"]`` after its newest event, so a position younger than that is safe.
"""

from __future__ import annotations

from base64 import b32encode
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.crypto import salted_hmac

from django_sse.wire.cursor import EMPTY, tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME_LENGTH = 10


def empty_epoch(channel: str, minute: int) -> str:
    """Return the epoch of ``channel``, which has no row in this ``minute`` (since 1970)."""
    return EMPTY + _name(channel, settings.SECRET_KEY) + tag_of(minute)


def newest_minute(channel: str, epochs: Iterable[str]) -> int | None:
    """Return the newest minute in the empty epochs of ``channel`` among ``epochs``, or None."""
    empty = [epoch for epoch in epochs if epoch.startswith(EMPTY)]
    if not empty:
        return None
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    names = {EMPTY + _name(channel, key) for key in keys}
    end = len(EMPTY) + _NAME_LENGTH
    return max((_minute(epoch[end:]) for epoch in empty if epoch[:end] in names), default=None)


def _name(channel: str, secret: str | bytes) -> str:
    digest = salted_hmac("django_sse.empty", channel, secret, algorithm="sha256").digest()
    return b32encode(digest).decode().lower()[:_NAME_LENGTH]


def _minute(text: str) -> int:
    try:
        return int(text, 32)
    except ValueError:
        # A client made it up: treat it as too old.
        return 0
