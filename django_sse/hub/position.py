"""Where a stream begins in its channels, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from django.conf import settings
from django.utils import timezone

from django_sse.wire.cursor import Cursor
from django_sse.wire.errors import InvalidCursor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_sse.hub.ring import Frame
    from django_sse.hub.topic import Topic
    from django_sse.log.base import EventLog, Head

Since: TypeAlias = "str | int | datetime | Cursor"


@dataclass(slots=True)
class Settled:
    """Where a stream begins: a head and a cursor for each channel.

    ``resets`` has the indexes of the channels whose position could not be honoured, with reasons.
    """

    heads: list[Head]
    cursors: list[int]
    resets: dict[int, str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether nothing will ever come after these positions."""
        return not self.resets and all(
            head.state and cursor >= head.head
            for head, cursor in zip(self.heads, self.cursors, strict=True)
        )


@dataclass(slots=True)
class ChannelPosition:
    """Where a stream stands in one channel.

    ``page`` holds frames that were read from the log while the cursor is behind the ring.
    ``reset`` is the reason for which the client's own position cannot be honoured.
    """

    topic: Topic
    cursor: int
    generation: int
    page: list[Frame]
    reset: str = ""

    @property
    def ended(self) -> bool:
        return self.topic.terminal is not None and self.cursor >= self.topic.terminal

    @property
    def behind(self) -> bool:
        return self.cursor < self.topic.ring.start

    @property
    def wants_page(self) -> bool:
        return self.behind and not self.page

    @property
    def stale(self) -> bool:
        return bool(self.reset) or self.generation != self.topic.generation


def check_since(since: object) -> None:
    """Raise ``TypeError`` or ``ValueError`` for a value that ``since`` cannot take."""
    if isinstance(since, bool) or not isinstance(since, str | int | datetime | Cursor):
        raise TypeError(
            "since must be 'now', 'earliest', a cursor, a datetime or a number of events, not "
            f"{type(since).__name__}."
        )
    if isinstance(since, int) and since < 0:
        raise ValueError("since is a number of newest events here, so it must not be negative.")
    if isinstance(since, datetime) and timezone.is_aware(since) is not settings.USE_TZ:
        wanted = "an aware" if settings.USE_TZ else "a naive"
        raise ValueError(f"since must be {wanted} datetime: USE_TZ is {settings.USE_TZ}.")


def settle(
    log: EventLog, channels: Sequence[str], last_event_id: str | None, since: Since
) -> Settled:
    """Return where a stream begins: at the client's ``last_event_id``, or without one at ``since``.

    Reads the log. Raises ``LogUnavailable``.
    """
    heads = log.open(channels)
    if last_event_id is not None:
        return _resume(heads, last_event_id)
    if isinstance(since, Cursor):
        return _resume(heads, str(since))
    if isinstance(since, str) and since not in ("now", "earliest"):
        return _resume(heads, since)
    return Settled(heads, [_begin(log, head, since) for head in heads])


def _begin(log: EventLog, head: Head, since: Since) -> int:
    if since == "now":
        return head.head
    if since == "earliest":
        return head.floor
    if isinstance(since, int):
        return max(head.floor, head.head - since)
    assert isinstance(since, datetime)
    return log.seq_before(head, since)


def _resume(heads: list[Head], text: str) -> Settled:
    """Only this client is told of a position that cannot be honoured: it may have made it up, so
    nothing that others share changes for it."""
    settled = Settled(heads, [head.head for head in heads])
    try:
        cursor = Cursor.parse(text)
    except InvalidCursor:
        settled.resets = dict.fromkeys(range(len(heads)), "malformed")
        return settled
    for index, head in enumerate(heads):
        seq = cursor.seq(head.epoch)
        if seq is None:
            settled.resets[index] = "unknown"
        elif seq > head.head:
            settled.resets[index] = "rewound"
        elif seq < head.floor:
            settled.resets[index] = "trimmed"
        else:
            settled.cursors[index] = seq
    return settled
