"""The notifiers' messages: ``[version, environment, [[channel, epoch, seq, tag], ...]]``.

They are JSON in ASCII, to pass through a database of any encoding. Version and environment come
first in every version. None in place of the list means "something changed".

Messages carry positions, never content, so a forged or lost message costs only time. They carry the
channel's name as well as its epoch, to reach processes that still have the epoch of a log that was
rewound.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

from django_sse.models import NAME_LENGTH
from django_sse.notifiers.base import Wakeup
from django_sse.wire.cursor import EPOCH_LENGTH, MAX_SEQ, TAG_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

logger = logging.getLogger("django_sse")

VERSION = 1
MAX_LENGTH = 7900
"""Characters of a message: PostgreSQL refuses a NOTIFY of 8,000 bytes or more."""

MAX_MESSAGES = 8
"""Wake-ups that need more messages are sent as "something changed". By default a channel layer
keeps 100 messages for a receiver and silently drops the rest; this is far below."""

ENVIRONMENT = re.compile(r"[A-Za-z0-9_.-]{0,40}")
"""Fits in the name of a channel layer's group (ASCII, under 100 characters) and in a PostgreSQL
identifier (63 bytes)."""


class InvalidPayload(ValueError):
    """The payload is not a valid message. Its text is one of a few that say why."""


class UnknownVersion(InvalidPayload):
    """The message is for this environment, but has a version that this process does not support."""


def address(environment: str) -> str:
    """Return the name of the NOTIFY channel and of the channel layer's group of ``environment``."""
    return f"django_sse-{environment}" if environment else "django_sse"


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def encode(wakeups: Iterable[Wakeup] | None, environment: str) -> list[str]:
    """Return as few messages as possible, of at most ``MAX_LENGTH`` characters, for ``wakeups``.

    For None, and if ``MAX_MESSAGES`` are not enough, returns one that means "something changed".
    """
    head = f"[{VERSION},{_dumps(environment)},"
    messages: list[str] = []
    batch: list[str] = []
    room = MAX_LENGTH - len(head) - len("[]]")
    left = room
    for each in wakeups or ():
        text = _dumps(each)
        if len(text) + 1 > left and batch:
            messages.append(f"{head}[{','.join(batch)}]]")
            batch, left = [], room
        batch.append(text)
        left -= len(text) + 1
    if batch:
        messages.append(f"{head}[{','.join(batch)}]]")
    if wakeups is None or len(messages) > MAX_MESSAGES:
        return [f"{head}null]"]
    return messages


def decode(payload: object, environment: str) -> list[Wakeup] | None:
    """Return the wake-ups in a message, or None for "something changed".

    The list is empty for a message of another environment. Raises ``InvalidPayload`` and
    ``UnknownVersion``.
    """
    version, sender, *rest = _message(payload)
    if sender != environment:
        return []
    if version != VERSION:
        raise UnknownVersion("unknown version")
    if len(rest) != 1 or not isinstance(rest[0], list | None):
        raise InvalidPayload("no list of positions")
    return None if rest[0] is None else [_wakeup(each) for each in rest[0]]


def _message(payload: object) -> Sequence[Any]:
    if not isinstance(payload, str):
        raise InvalidPayload("not text")
    if len(payload) > MAX_LENGTH:
        raise InvalidPayload("too long")
    try:
        message: Sequence[Any] = json.loads(payload)
    except (ValueError, RecursionError):
        raise InvalidPayload("not JSON") from None
    match message:
        case [int() as version, str(), *_] if not isinstance(version, bool):
            return message
    raise InvalidPayload("no version and environment")


def _wakeup(value: object) -> Wakeup:
    match value:
        case [str() as channel, str() as epoch, int() as seq, str() as tag] if (
            0 < len(channel) <= NAME_LENGTH
            and len(epoch) in (0, EPOCH_LENGTH)
            and not isinstance(seq, bool)
            and 0 <= seq <= MAX_SEQ
            and len(tag) <= TAG_LENGTH
        ):
            return Wakeup(channel, epoch, seq, tag)
    raise InvalidPayload("not a position")


class Reader:
    """The decoder of one notifier's messages; it logs each kind of invalid message only once.

    ``source`` names the transport in the log.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._told: set[str] = set()

    def read(
        self, payload: object, environment: str, wake: Callable[[Wakeup | None], None]
    ) -> None:
        """Call ``wake`` for each wake-up in ``payload``. It raises nothing for any payload."""
        try:
            wakeups = decode(payload, environment)
        except UnknownVersion as error:
            self._tell(error, 'Messages of this kind are taken as "something changed"')
            wakeups = None
        except InvalidPayload as error:
            self._tell(error, "Messages of this kind are ignored")
            return
        if wakeups is None:
            wake(None)
            return
        for wakeup in wakeups:
            wake(wakeup)

    def _tell(self, error: InvalidPayload, done: str) -> None:
        why = str(error)
        if why not in self._told:
            self._told.add(why)
            logger.warning(
                "Received a message that is not a wake-up through %s (%s). %s, and later ones are "
                "not logged.",
                self._source,
                why,
                done,
            )
