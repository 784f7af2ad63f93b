"""Cursor: the position that an event's id encodes. Its tag shows whether the log still has it.

An id is ``<epoch>-<seq>-<tag>``. A stream of several channels joins one for each with dots, not
commas, because servers join repeated headers with commas.

- The *epoch* is random and identifies the channel without revealing its name. A channel that has
  no row has an empty epoch, which begins with ``~``.
- The *seq* is the channel's dense sequence number, 0 before its first event.
- The *tag* is 30 bits of the random nonce of the append that made the event ``seq``. After a log
  was rewound, its new events have the numbers of the lost ones, but other tags. Before the first
  event it is ``0``.
"""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

from django_sse.wire.errors import InvalidCursor, excerpt
from django_sse.wire.event import MAX_ID_LENGTH

MAX_CHANNELS: Final = 32
#: Characters, as in any id. The longest cursor, 32 * (11 + 1 + 19 + 1 + 6 + 1) - 1 = 1247, fits.
MAX_LENGTH: Final = MAX_ID_LENGTH
#: 36 ** 11 is 57 bits: two channels share an epoch by chance once in billions of channels.
EPOCH_LENGTH: Final = 11
TAG_LENGTH: Final = 6
NO_TAG: Final = "0"
"""The tag of seq 0, which no append made."""

MAX_SEQ: Final = 2**63 - 1
"""The highest number of an event: what a BigIntegerField holds."""
_ALPHABET: Final = string.ascii_lowercase + string.digits
EMPTY: Final = "~"
"""The first character of an empty epoch; 16 of a-z and 0-9 follow."""

_EMPTY_EPOCH: Final = rf"{EMPTY}[a-z0-9]{{16}}"
_EPOCH: Final = re.compile(rf"[a-z0-9]{{{EPOCH_LENGTH}}}|{_EMPTY_EPOCH}")
_TAG: Final = re.compile(rf"[a-v0-9]{{{TAG_LENGTH}}}")
# Each position has one spelling, so equal cursors are equal text.
_POSITION: Final = re.compile(
    rf"({_EMPTY_EPOCH}(?=-0-)|[a-z0-9]{{{EPOCH_LENGTH}}})"
    rf"-(?:(0)-(0)|([1-9][0-9]{{0,18}})-([a-v0-9]{{{TAG_LENGTH}}}))"
)
# Two digits of base 32, for ten bits of a nonce at once: a tag is made for every event.
_DIGITS: Final = string.digits + string.ascii_lowercase[:22]
_PAIRS: Final = [high + low for high in _DIGITS for low in _DIGITS]


def make_epoch() -> str:
    """Return a new random epoch: 11 lower-case ASCII letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(EPOCH_LENGTH))


def make_nonce() -> int:
    """Return the random number of a new append, of 63 bits.

    It is never a time, because clocks are set back. It is never made from content, because content
    can be redacted.
    """
    return secrets.randbits(63)


def tag_of(nonce: int) -> str:
    """Return the tag of the events with this nonce: its lowest 30 bits in base 32."""
    return _PAIRS[nonce >> 20 & 1023] + _PAIRS[nonce >> 10 & 1023] + _PAIRS[nonce & 1023]


def is_empty(epoch: str) -> bool:
    """Return whether this is the epoch of a channel without a row."""
    return epoch.startswith(EMPTY)


class Position(NamedTuple):
    """A position in one channel."""

    epoch: str
    seq: int
    tag: str

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}-{self.tag}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in each of 1 to 32 channels.

    ``Cursor.parse(str(cursor)) == cursor`` for every cursor. The constructor raises
    ``InvalidCursor`` for anything else.
    """

    positions: tuple[Position, ...]

    def __post_init__(self) -> None:
        positions: object = self.positions
        if not isinstance(positions, tuple) or not 1 <= len(positions) <= MAX_CHANNELS:
            raise InvalidCursor(f"a cursor must be a tuple of 1 to {MAX_CHANNELS} positions")
        epochs = {_checked_epoch(position) for position in positions}
        if len(epochs) != len(positions):
            raise InvalidCursor("a cursor must not contain the same epoch twice")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the cursor that ``text`` spells, for example a Last-Event-ID.

        Raises ``InvalidCursor`` for any other text; the message quotes only its beginning.
        """
        if not isinstance(text, str):
            raise InvalidCursor(f"a cursor's text must be a str, not {type(text).__name__}")
        if len(text) > MAX_LENGTH:
            raise InvalidCursor(
                f"a cursor must have at most {MAX_LENGTH} characters, not {len(text)}"
            )
        matches = [_POSITION.fullmatch(part) for part in text.split(".")]
        positions = tuple(
            Position(match[1], int(match[2] or match[4]), match[3] or match[5])
            for match in matches
            if match
        )
        if len(positions) != len(matches):
            _refuse(text)
        return cls(positions)

    def __str__(self) -> str:
        return ".".join(map(str, self.positions))

    def find(self, epoch: str) -> Position | None:
        """Return the position in the channel with ``epoch``, or None if there is none."""
        for position in self.positions:
            if position.epoch == epoch:
                return position
        return None


def _refuse(text: str) -> NoReturn:
    raise InvalidCursor(
        f"not a cursor: {excerpt(text)}. A cursor is 1 to {MAX_CHANNELS} parts <epoch>-<seq>-<tag> "
        "joined by dots. Pass an id exactly as this server sent it"
    )


def _checked_epoch(position: object) -> str:
    if not isinstance(position, Position):
        raise InvalidCursor(f"a position must be a Position, not {type(position).__name__}")
    fields: tuple[object, ...] = position
    epoch, seq, tag = fields
    if not isinstance(epoch, str) or not _EPOCH.fullmatch(epoch):
        raise InvalidCursor(
            f"an epoch must be {EPOCH_LENGTH} lower-case ASCII letters and digits, or {EMPTY!r} "
            "and 16 of them"
        )
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq <= MAX_SEQ:
        raise InvalidCursor("a seq must be an int from 0 to 2**63 - 1")
    if seq and is_empty(epoch):
        raise InvalidCursor("an empty epoch has no events, so its seq must be 0")
    if not isinstance(tag, str) or not (_TAG.fullmatch(tag) if seq else tag == NO_TAG):
        raise InvalidCursor(
            f"a tag must be {TAG_LENGTH} characters of 0-9 and a-v, and {NO_TAG!r} for seq 0"
        )
    return epoch
