"""Appends that can be tried again: each is made once, or its caller learns why it cannot be.

The answer to a COMMIT can be lost, and the COMMIT can be carried out seconds later. So a query
between two tries does not show what the log will have. Only the next try itself does: it waits for
the lock on the channel's row, which the first try holds until it has committed or failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_sse.exceptions import ChannelFinished, EventStreamError
from django_sse.log.base import Appended, Entry, Record
from django_sse.wire.cursor import Position, tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable


class Rewound(EventStreamError):
    """The channel is not at the position of an attempt: its log was rewound, or it is gone.

    Only the library's own code makes attempts, so a project's code never gets this error.
    """


class Attempt(list[Entry]):
    """Entries of one channel, for ``append_each``: right after ``position``, once or not at all.

    It may be passed to ``append_each`` repeatedly. ``nonce`` is the nonce of the rows that it may
    have made, or None if no transaction has tried yet.

    With ``anywhere`` the entries may follow any event of the epoch of ``position``. They must end
    the channel, because only the end makes sure that a second try appends nothing.
    """

    __slots__ = ("anywhere", "nonce", "position")

    def __init__(
        self, entries: Iterable[Entry], position: Position, *, anywhere: bool = False
    ) -> None:
        super().__init__(entries)
        self.position = position
        self.anywhere = anywhere
        self.nonce: int | None = None

    @property
    def channel(self) -> str:
        return self[0].channel

    def follow(self, head: Position) -> None:
        """Expect the channel at its present ``head``, if it may be anywhere in that epoch."""
        if self.anywhere and head.epoch == self.position.epoch:
            self.position, self.nonce = head, None

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
        """Return its entries as ``Appended``, once they are in the channel with this key."""
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

        It has all of them if the event ``first`` has the nonce, because they commit together.
        """
        epoch, seq, _ = self.position
        return self.nonce is not None and head.epoch == epoch and head.seq > seq

    def refused(self, head: Position | None, state: str) -> ChannelFinished | Rewound:
        """Return why it cannot be appended: it is not in the channel, which has another position.

        ``head`` is the channel's head, or None if there is no such channel.
        """
        if state:
            return ChannelFinished.of(self.channel, state)
        return Rewound(
            f"The channel {self.channel!r} is no longer at {self.position}, but "
            f"{'gone' if head is None else f'at {head}'}: its log was rewound or wiped."
        )
