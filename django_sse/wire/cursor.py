"""Cursor: the position that an event's id encodes.

An id is ``<epoch>-<seq>``. A stream of several channels joins one for each with dots, not commas:
servers join repeated headers with commas. The epoch is random and identifies the channel without
revealing its name. The seq is the channel's dense sequence number, 0 before its first event.
"""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass
from typing import Final, NoReturn

from django_sse.wire.errors import InvalidCursor, excerpt

MAX_CHANNELS: Final = 32
#: Characters. The longest cursor, 32 * (11 + 1 + 19 + 1) - 1 = 1023, fits.
MAX_LENGTH: Final = 1024
#: 36 ** 11 is 57 bits: two channels share an epoch by chance once in billions of channels.
EPOCH_LENGTH: Final = 11

MAX_SEQ: Final = 2**63 - 1
"""The highest number of an event: what a BigIntegerField holds."""
_ALPHABET: Final = string.ascii_lowercase + string.digits
_EPOCH: Final = re.compile(rf"[a-z0-9]{{{EPOCH_LENGTH}}}")
# Each position has one spelling, so equal cursors are equal text.
_POSITION: Final = re.compile(rf"([a-z0-9]{{{EPOCH_LENGTH}}})-(0|[1-9][0-9]{{0,18}})")


def make_epoch() -> str:
    """Return a new random epoch: 11 lower-case ASCII letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(EPOCH_LENGTH))


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in each of 1 to 32 channels, as pairs of epoch and seq.

    ``Cursor.parse(str(cursor)) == cursor`` for every cursor. The constructor raises
    ``InvalidCursor`` for anything else.
    """

    positions: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        positions: object = self.positions
        if not isinstance(positions, tuple) or not 1 <= len(positions) <= MAX_CHANNELS:
            raise InvalidCursor(
                f"a cursor must be a tuple of 1 to {MAX_CHANNELS} pairs (epoch, seq)"
            )
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
        positions = tuple((match[1], int(match[2])) for match in matches if match)
        if len(positions) != len(matches):
            _refuse(text)
        return cls(positions)

    def __str__(self) -> str:
        return ".".join([f"{epoch}-{seq}" for epoch, seq in self.positions])

    def seq(self, epoch: str) -> int | None:
        """Return the seq for ``epoch``, or None if the cursor does not contain that epoch."""
        for name, seq in self.positions:
            if name == epoch:
                return seq
        return None


def _refuse(text: str) -> NoReturn:
    raise InvalidCursor(
        f"not a cursor: {excerpt(text)}. A cursor is 1 to {MAX_CHANNELS} parts <epoch>-<seq> "
        "joined by dots. Pass an id exactly as this server sent it"
    )


def _checked_epoch(position: object) -> str:
    if not isinstance(position, tuple) or len(position) != 2:
        raise InvalidCursor(
            f"a position must be a pair (epoch, seq), not {type(position).__name__}"
        )
    epoch, seq = position
    if not isinstance(epoch, str) or not _EPOCH.fullmatch(epoch):
        raise InvalidCursor(f"an epoch must be {EPOCH_LENGTH} lower-case ASCII letters and digits")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq <= MAX_SEQ:
        raise InvalidCursor("a seq must be an int from 0 to 2**63 - 1")
    return epoch
