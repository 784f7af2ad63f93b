"""Replay: pages of the log for the streams of one channel that are behind its ring."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django_sse import constants
from django_sse.hub.ring import Frame, encode_records
from django_sse.log.base import Page

if TYPE_CHECKING:
    from django_sse.hub.topic import Topic
    from django_sse.log.base import EventLog

_RECENT_PAGES = 8


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames without holes, and the ``tag`` of the event before them, or None if unknown."""

    tag: str | None
    frames: list[Frame]

    def after(self, seq: int) -> Frames:
        """Return the frames after the event ``seq``, which is one of them or the one before."""
        skipped = len(self.frames) - (self.frames[-1].seq - seq)
        if not skipped:
            return self
        return Frames(self.frames[skipped - 1].tag, self.frames[skipped:])


class Hole(Exception):
    """Events after a position are no longer in the log."""


def read_after(log: EventLog, channel: str, key: int, after: int, limit: int) -> Page:
    """Return a page of the log with the tag of the event before it, even if that was trimmed.

    Only the channel's row still has the tag of the newest event that was trimmed.
    """
    page = log.read(key, after, limit)
    if page.tag is not None or not page.records or page.records[0].seq != after + 1:
        return page
    head = log.heads([channel]).get(channel)
    return Page(None if head is None or head.key != key else head.tag(after), page.records)


class Pages:
    """The reads of one topic's replaying streams, each shared among the streams that need it."""

    def __init__(self, topic: Topic, ring_events: int) -> None:
        self._topic = topic
        self._ring_events = ring_events
        self._reading: dict[int, asyncio.Task[Frames]] = {}
        # The pages read most recently, by the cursor before them. A replaying stream keeps only the
        # part of a page that goes into its next write.
        self._recent: OrderedDict[int, Frames] = OrderedDict()
        self._filling: asyncio.Task[None] | None = None

    def clear(self) -> None:
        """Drop what was read before the log was replaced or an event was redacted."""
        self._reading.clear()
        self._recent.clear()
        self._filling = None

    async def after(self, cursor: int) -> Frames:
        """Return the frames after a ``cursor`` that the ring no longer covers.

        There are none if the ring covers the cursor by now. Raises ``Hole`` if the log no longer
        has the event that follows ``cursor``.
        """
        ring = self._topic.ring
        if self._filling is None and ring.start - cursor <= self._ring_events:
            self._filling = self._topic.spawn(self._fill())
        if self._filling is not None and not self._filling.done():
            await asyncio.shield(self._filling)
        if cursor >= ring.start:
            return Frames(ring.tag(cursor), [])
        if (recent := self._recent_after(cursor)) is not None:
            return recent
        task = self._reading.get(cursor)
        if task is None:
            task = self._reading[cursor] = self._topic.spawn(self._load(cursor))
            task.add_done_callback(lambda done: self._loaded(cursor, done))
        # Shielded: if one stream's client leaves, that must not cancel the other streams' read.
        return await asyncio.shield(task)

    async def _fill(self) -> None:
        """Fill a new topic's ring with the newest events.

        Ten thousand clients that reconnect after a deploy, each at a different position, then cost
        one replay.
        """
        topic, ring = self._topic, self._topic.ring
        generation, redactions = topic.generation, topic.redactions
        lowest = max(0, ring.start - self._ring_events)
        step = constants.PAGE_EVENTS
        # Backwards from the newest: there may be room for only a few.
        while (start := ring.start) > lowest:
            after = max(lowest, start - step)
            page = await topic.read(after, start - after)
            records = page.records
            if not records or (generation, redactions) != (topic.generation, topic.redactions):
                return
            if records[-1].seq < start:
                # The events are large: the page reached its maximum size before the ring's start.
                step = len(records)
                continue
            frames = encode_records(topic.epoch, records)
            if not ring.prepend(page.tag, frames):
                await topic.replaced(generation)
                return
            if ring.start > after:
                return

    def _recent_after(self, cursor: int) -> Frames | None:
        """Return the frames after ``cursor``, if one of the pages read most recently has them."""
        for after, recent in self._recent.items():
            if after <= cursor < recent.frames[-1].seq:
                self._recent.move_to_end(after)
                return recent.after(cursor)
        return None

    def _loaded(self, cursor: int, task: asyncio.Task[Frames]) -> None:
        if self._reading.get(cursor) is task:
            del self._reading[cursor]
        if not task.cancelled():
            task.exception()

    async def _load(self, cursor: int) -> Frames:
        topic = self._topic
        known, epoch, generation = topic.known, topic.epoch, topic.generation
        page = await topic.read(cursor, constants.PAGE_EVENTS)
        records = page.records
        if not records:
            if max(known, topic.ring.start) > cursor:
                raise Hole
            return Frames(page.tag, [])
        if records[0].seq != cursor + 1 or records[-1].seq - cursor != len(records):
            raise Hole
        frames = Frames(page.tag, encode_records(epoch, records))
        if generation == topic.generation:
            self._recent[cursor] = frames
            while len(self._recent) > _RECENT_PAGES:
                self._recent.popitem(last=False)
        return frames
