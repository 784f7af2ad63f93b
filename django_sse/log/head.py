"""The state of a channel, as readers get it."""

from __future__ import annotations

from dataclasses import dataclass

from django_sse.log.empty import empty_epoch
from django_sse.models import State
from django_sse.wire.cursor import NO_TAG, Position


@dataclass(frozen=True, slots=True)
class Head:
    """The state of a channel. ``key`` is the argument of ``read``, valid while the rows exist.

    A channel without a row has the key 0 and an empty epoch.
    """

    channel: str
    key: int
    epoch: str
    head: int
    head_tag: str
    floor: int
    floor_tag: str
    state: str
    redactions: int

    @classmethod
    def empty(cls, channel: str, minute: int) -> Head:
        """Return the head of a channel without a row; ``minute`` is ``EventLog.minute()``."""
        epoch = empty_epoch(channel, minute)
        return cls(channel, 0, epoch, 0, NO_TAG, 0, NO_TAG, State.OPEN.value, 0)

    @property
    def position(self) -> Position:
        """The position after the newest event."""
        return Position(self.epoch, self.head, self.head_tag)

    @property
    def start(self) -> Position:
        """The position before the oldest stored event."""
        return Position(self.epoch, self.floor, self.floor_tag)

    def may_follow(self, epoch: str, seq: int, tag: str | None) -> bool:
        """Return whether the log may have been at this position before; ``tag`` is None if unknown.

        If not, the log was wiped or rewound.
        """
        if self.epoch != epoch or self.head < seq:
            return False
        return self.head > seq or tag is None or tag == self.head_tag

    def tag(self, seq: int) -> str | None:
        """Return the tag of the event ``seq`` if it is the head or the floor, else None."""
        if seq == self.head:
            return self.head_tag
        return self.floor_tag if seq == self.floor else None
