"""What notifiers say to each other: ``[version, environment, [[channel, epoch, seq], ...]]``.

JSON in ASCII, so that it passes a database of any encoding. Version and environment come first in
every version. None in place of the list says "something changed".

Positions and never content: who can forge a message, or lose one, can only cost time. A channel's
name and not its epoch alone: a process that still holds the epoch of a log that was rewound must be
told, too.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

from django_sse.models import NAME_LENGTH
from django_sse.notifiers.base import Wakeup
from django_sse.wire.cursor import EPOCH_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

logger = logging.getLogger("django_sse")

VERSION = 1
MAX_LENGTH = 7900
"""Characters of a message: PostgreSQL refuses a NOTIFY of 8,000 bytes or more."""

MAX_MESSAGES = 8
"""What needs more is told as "something changed". Far below the 100 messages that a channel layer
keeps for a receiver by default before it drops in silence."""

ENVIRONMENT = re.compile(r"[A-Za-z0-9_.-]{0,40}")
"""What may stand in the name of a channel layer's group (ASCII, below 100 characters) and in an
identifier of PostgreSQL (63 bytes)."""

# Seqs are BigIntegerFields.
_MAX_SEQ = (1 << 63) - 1


class InvalidPayload(ValueError):
    """Not a message of ours. ``kind`` is one of a few words: what was wrong."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class UnknownVersion(InvalidPayload):
    """Ours, of this environment, and of a version that this process does not understand."""


def address(environment: str) -> str:
    """The NOTIFY channel, and the channel layer's group, of ``environment``."""
    return f"django_sse-{environment}" if environment else "django_sse"


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def encode(wakeups: Iterable[Wakeup] | None, environment: str) -> list[str]:
    """Messages of at most ``MAX_LENGTH`` characters for ``wakeups``, as few as possible.

    None, and more than fits into ``MAX_MESSAGES``, gives one that says "something changed".
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
    """The wake-ups of a message, none of another environment's; None for "something changed".

    Raises ``InvalidPayload``, and ``UnknownVersion``.
    """
    version, sender, *rest = _message(payload)
    if sender != environment:
        return []
    if version != VERSION:
        raise UnknownVersion("a version that is not known here")
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
    raise InvalidPayload("neither version nor environment")


def _wakeup(value: object) -> Wakeup:
    match value:
        case [str() as channel, str() as epoch, int() as seq] if (
            0 < len(channel) <= NAME_LENGTH
            and len(epoch) in (0, EPOCH_LENGTH)
            and not isinstance(seq, bool)
            and 0 <= seq <= _MAX_SEQ
        ):
            return Wakeup(channel, epoch, seq)
    raise InvalidPayload("not a position")


class Reader:
    """Understands what arrives, and says of each kind of nonsense only once that it did.

    ``source`` is for the log: where it arrives. One for each notifier.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._told: set[str] = set()

    def read(
        self, payload: object, environment: str, wake: Callable[[Wakeup | None], None]
    ) -> None:
        """Call ``wake`` for what ``payload`` says. Raises nothing, whatever it is."""
        try:
            wakeups = decode(payload, environment)
        except UnknownVersion as error:
            self._tell(error, 'taken as "something changed"')
            wakeups = None
        except InvalidPayload as error:
            self._tell(error, "ignored")
            return
        if wakeups is None:
            wake(None)
            return
        for wakeup in wakeups:
            wake(wakeup)

    def _tell(self, error: InvalidPayload, done: str) -> None:
        if error.kind not in self._told:
            self._told.add(error.kind)
            logger.warning(
                "A message that is no wake-up came through %s (%s). It is %s, and so is every "
                "other of its kind, without a word.",
                self._source,
                error.kind,
                done,
            )
