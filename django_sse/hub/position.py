"""Where a stream begins in its channels, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from django.conf import settings
from django.utils import timezone

from django_sse import conf
from django_sse.log.empty import newest_minute
from django_sse.wire.cursor import Cursor, Position, is_empty
from django_sse.wire.errors import InvalidCursor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_sse.hub.ring import Frame
    from django_sse.hub.topic import Topic
    from django_sse.log.base import EventLog, Head

Since: TypeAlias = "str | int | datetime | Cursor"


@dataclass(slots=True)
class Settled:
    """Where a stream begins: a head and a position for each channel.

    ``resets`` has the indexes of the channels whose position could not be honoured, with reasons.
    """

    heads: list[Head]
    positions: list[Position]
    resets: dict[int, str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether nothing will ever come after these positions."""
        return not self.resets and all(
            head.state and position.seq >= head.head
            for head, position in zip(self.heads, self.positions, strict=True)
        )


@dataclass(slots=True)
class ChannelPosition:
    """A stream's position in one channel: after the event ``cursor``, which has this ``tag``.

    ``page`` holds frames that were read from the log while the cursor is behind the ring.
    ``reset`` is the reason for which the client's own position cannot be honoured.
    """

    topic: Topic
    cursor: int
    tag: str
    generation: int
    page: list[Frame]
    reset: str = ""

    @property
    def ended(self) -> bool:
        return self.topic.terminal is not None and self.cursor >= self.topic.terminal

    @property
    def behind(self) -> bool:
        """Whether the ring cannot serve it: the ring starts later, or is of another log than the
        client's events."""
        ring, cursor = self.topic.ring, self.cursor
        if cursor == ring.tail:
            return self.tag != ring.tail_tag
        return cursor < ring.start or not ring.follows(cursor, self.tag)

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
        return _resume(log, heads, last_event_id)
    if isinstance(since, Cursor):
        return _resume(log, heads, str(since))
    if isinstance(since, str) and since not in ("now", "earliest"):
        return _resume(log, heads, since)
    return Settled(heads, [_begin(log, head, since) for head in heads])


def _begin(log: EventLog, head: Head, since: Since) -> Position:
    if since == "now":
        return head.position
    if since == "earliest":
        return head.start
    if isinstance(since, int):
        seq = max(head.floor, head.head - since)
    else:
        assert isinstance(since, datetime)
        seq = log.seq_before(head, since)
    if (tag := _tag(log, head, seq)) is None:
        # The event was trimmed meanwhile: begin at the new floor.
        return log.open([head.channel])[0].start
    return Position(head.epoch, seq, tag)


def _tag(log: EventLog, head: Head, seq: int) -> str | None:
    return head.tag(seq) or log.tag(head.key, seq)


def _resume(log: EventLog, heads: list[Head], text: str) -> Settled:
    """Return where a stream begins that resumes at ``text``.

    A position that cannot be honoured resets only this client. The client may have made it up, so
    it changes nothing for others.
    """
    settled = Settled(heads, [head.position for head in heads])
    try:
        cursor = Cursor.parse(text)
    except InvalidCursor:
        settled.resets = dict.fromkeys(range(len(heads)), "malformed")
        return settled
    for index, head in enumerate(heads):
        position = cursor.find(head.epoch)
        if position is None:
            position = head.start
            reason = _refused_empty(log, head, cursor)
        else:
            reason = _refused(log, head, position)
        if reason:
            settled.resets[index] = reason
        else:
            settled.positions[index] = position
    return settled


def _refused_empty(log: EventLog, head: Head, cursor: Cursor) -> str:
    """Return why the log cannot honour a ``cursor`` from before the channel had a row; empty if it
    can. ``django_sse.log.empty`` has the rule."""
    minute = newest_minute(head.channel, (position.epoch for position in cursor.positions))
    if minute is None:
        return "unknown"
    age = conf.current().RETENTION.AGE
    # A whole minute more, since both minutes are rounded down.
    if head.floor or (age is not None and (log.minute() - minute + 1) * 60 > age):
        return "trimmed"
    return ""


def _refused(log: EventLog, head: Head, position: Position) -> str:
    """Return why the log cannot honour a client's ``position``; empty if it can."""
    if position.seq > head.head:
        return "rewound"
    if position.seq < head.floor:
        return "trimmed"
    tag = _tag(log, head, position.seq)
    if tag is None:
        # The event was trimmed meanwhile. If it is the new floor, no event after it is gone.
        (trimmed,) = log.open([head.channel])
        tag = trimmed.tag(position.seq) if trimmed.epoch == head.epoch else None
    if tag is None:
        return "trimmed"
    return "" if tag == position.tag else "rewound"


async def _join_empty(topic: Topic, head: Head) -> None:
    """Join a channel that had no row. If it has one now, the stream begins at its first event."""
    if is_empty(topic.epoch):
        topic.renew(head.epoch)
    else:
        # Either the row was just made, or it was removed and the topic does not know that yet.
        await topic.check()


async def join(topic: Topic, head: Head, begin: Position, reset: str) -> str:
    """Return why the client of a stream that begins at ``begin`` needs a reset; empty if it needs
    none.

    ``settle`` found ``head`` and ``begin`` in the log, and perhaps a reason for a ``reset``. They
    do not match the topic if the log was replaced after ``settle``, or before it and the topic does
    not know yet. Then the topic reads the log before the stream begins. Otherwise it would send
    events that are gone, and reset its new clients twice.
    """
    if is_empty(head.epoch):
        await _join_empty(topic, head)
        return reset
    if topic.epoch == head.epoch:
        await topic.reach(head.head)
    # A client's made-up position alone causes no query, because ``begin`` is then the head.
    if not (topic.agrees(head.position) and topic.agrees(begin)) or (
        reset == "rewound" and topic.ring.tail > head.head
    ):
        await topic.check()
    if topic.epoch != head.epoch:
        return reset or "unknown"
    return reset or ("" if topic.agrees(begin) else "rewound")
