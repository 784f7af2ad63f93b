"""Appends that can be tried again: each is made once, or its caller learns what came instead.

The answer to a COMMIT can be lost, and the COMMIT can be carried out seconds later. So whoever asks
the log between two tries cannot know what it will have. Only the next try itself can: it waits for
the channel's row, which the first one has locked until it is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_sse.exceptions import ChannelFinished, EventStreamError
from django_sse.log.base import Appended, Entry, Record
from django_sse.wire.cursor import Position, tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable


class Rewound(EventStreamError):
    """The channel does not go on where an attempt expects it: its log was rewound, or it is gone.

    Only the library's own code makes attempts, so no caller of the project's meets this error.
    """


class Attempt(list[Entry]):
    """Entries of one channel, for ``append_each``: right after ``position``, once, or not at all.

    It can be given to ``append_each`` again. ``nonce`` is the one of the rows that it may have
    made; None if no transaction has tried to make any.
    """

    __slots__ = ("nonce", "position")

    def __init__(self, entries: Iterable[Entry], position: Position) -> None:
        super().__init__(entries)
        self.position = position
        self.nonce: int | None = None

    @property
    def channel(self) -> str:
        return self[0].channel

    @property
    def reached(self) -> Position:
        """The position after its entries, once they are appended."""
        assert self.nonce is not None
        epoch, seq, _ = self.position
        return Position(epoch, seq + len(self), tag_of(self.nonce))

    @property
    def ids(self) -> list[str]:
        """The ids of its entries, once they are appended."""
        epoch, _, tag = self.reached
        return [f"{epoch}-{seq}-{tag}" for seq, _ in self._numbered()]

    def appended(self, key: int) -> Appended:
        """Return what is to be told of its entries, once they are in the channel with this key."""
        epoch, _, before = self.position
        assert self.nonce is not None
        records = [
            Record(seq, each.type, each.data, each.kind, self.nonce)
            for seq, each in self._numbered()
        ]
        return Appended(self.channel, epoch, before, records, key)

    def _numbered(self) -> Iterable[tuple[int, Entry]]:
        return enumerate(self, self.first)

    @property
    def first(self) -> int:
        """The seq of its first entry."""
        return self.position.seq + 1

    def may_be_in(self, head: Position) -> bool:
        """Return whether a channel with this ``head`` may have its entries.

        It has them if the event ``first`` has the nonce: they were committed together.
        """
        epoch, seq, _ = self.position
        return self.nonce is not None and head.epoch == epoch and head.seq > seq

    def refused(self, head: Position | None, state: str) -> ChannelFinished | Rewound:
        """Return why it cannot be appended: its entries are not in the channel, which is elsewhere.

        ``head`` is the channel's head; None if there is no such channel.
        """
        if state:
            return ChannelFinished.of(self.channel, state)
        return Rewound(
            f"The channel {self.channel!r} is not at {self.position} any more, but "
            f"{'gone' if head is None else f'at {head}'}: its log was rewound or wiped."
        )
