"""The live side of a channel in one process: its ring, and the reads that keep the ring current."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextvars import Context
from typing import TYPE_CHECKING

from django_sse import conf, constants
from django_sse.exceptions import LogUnavailable
from django_sse.hub.ring import Frame, Ring, encode_record
from django_sse.hub.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any, TypeVar

    from django_sse.hub.hub import Hub
    from django_sse.hub.rounds import Waiter
    from django_sse.log.base import Appended, Head, Record

    T = TypeVar("T")

logger = logging.getLogger("django_sse")

_RECENT_PAGES = 8
_RETRY_LOG = 0.5


def _after_the_last_hole(records: Sequence[Record]) -> Sequence[Record]:
    """Return the end of a page that has no holes, since a ring cannot hold holes.

    A stream whose position is before the hole reads the page itself and detects the hole.
    """
    for index in range(len(records) - 1, 0, -1):
        if records[index].seq != records[index - 1].seq + 1:
            return records[index:]
    return records


class Hole(Exception):
    """Events after a position are no longer in the log."""


class Topic:
    """All reads of the log for one channel, each shared among the streams that need it.

    ``generation`` is incremented if the log has been replaced (wiped, rewound or rotated). A stream
    that sees a new generation tells its client.
    """

    def __init__(self, hub: Hub, channel: str) -> None:
        limits = conf.current().LIMITS
        self.channel = channel
        self.epoch = ""
        self.key = 0
        self.generation = 0
        self.reason = ""
        self.terminal: int | None = None
        self.redactions = 0
        self.ring = Ring(0, max_bytes=limits.RING_BYTES, max_events=limits.RING_EVENTS)
        self.waiters: set[Waiter] = set()
        self.unused_since: float | None = None
        self._hub = hub
        self._ring_events = limits.RING_EVENTS
        self._loop = asyncio.get_running_loop()
        # The highest seq that is in the log according to the database or a commit of this process.
        self._known = 0
        self._early: dict[int, Appended] = {}
        self._pages: dict[int, asyncio.Task[list[Frame]]] = {}
        # The pages read most recently, by the cursor before them. A replaying stream keeps only the
        # part of a page that goes into its next write.
        self._recent: OrderedDict[int, list[Frame]] = OrderedDict()
        self._catching_up: asyncio.Task[None] | None = None
        self._filling: asyncio.Task[None] | None = None
        self._look_again = False
        # The highest seq in a wake-up, until the log was read for it.
        self._hint = 0
        self._rounds = Rounds(self._loop, self.waiters, constants.COALESCE)

    @property
    def known(self) -> int:
        """The highest seq known to be committed."""
        return self._known

    # -- the channel's state

    def start(self, head: Head) -> None:
        """Start from a head that was read after the hub began to listen."""
        self.epoch, self.key = head.epoch, head.key
        self.redactions = head.redactions
        self.terminal = head.head if head.state else None
        self.ring.restart(head.head)
        self._filling = None
        self._early.clear()
        missed = self._known
        self._known = head.head
        self.expect(missed)

    def restart(self, head: Head, reason: str) -> None:
        """Start again because the log was replaced; every stream tells its client."""
        logger.warning(
            "The log of channel %r was replaced: %s. Its clients get a stream-reset.",
            self.channel,
            reason,
        )
        self.generation += 1
        self.reason = reason
        self._forget_pages()
        self._known = 0
        self.start(head)
        self._rounds.wake()

    def expect(self, seq: int) -> None:
        """Read up to ``seq``, which is committed."""
        self._known = max(self._known, seq)
        if self._known > self.ring.tail:
            self.look()

    def forget_frames(self, redactions: int) -> None:
        """Drop all events in memory because one was redacted; streams read the log again."""
        self.redactions = redactions
        self._early.clear()
        self._forget_pages()
        self._filling = None
        self.ring.restart(self.ring.tail)
        for waiter in self.waiters:
            waiter.forget_pages()

    # -- live events

    def deliver(self, appended: Appended) -> None:
        """Add events that this process has just committed."""
        if not self.epoch:
            self._known = max(self._known, appended.records[-1].seq)
            return
        if appended.epoch != self.epoch:
            self._spawn(self._hub.check(self))
            return
        first, last = appended.records[0].seq, appended.records[-1].seq
        self._known = max(self._known, last)
        if first > self.ring.tail + 1:
            # Two threads committed one after the other, but delivered in the opposite order.
            self._early[first] = appended
            self._loop.call_later(constants.GAP_WAIT, self._expect_of, self.generation, last)
            return
        if first <= self.ring.tail and not self._has(appended.records[0]):
            # Another event has the same number: the log was rewound.
            self._spawn(self._hub.check(self))
        self._append(appended.records)
        while self._early and (later := self._early.pop(self.ring.tail + 1, None)):
            self._append(later.records)

    def _has(self, record: Record) -> bool:
        return self.ring.find(record.seq) == encode_record(self.epoch, record)

    def _expect_of(self, generation: int, seq: int) -> None:
        # A seq of the log before it was replaced would make the new one look rewound.
        if generation == self.generation:
            self.expect(seq)

    def _append(self, records: Sequence[Record]) -> None:
        tail = self.ring.tail
        frames = [encode_record(self.epoch, record) for record in records if record.seq > tail]
        if not frames:
            return
        self.ring.append(frames)
        self._known = max(self._known, self.ring.tail)
        if frames[-1].terminal:
            self.terminal = frames[-1].seq
        self._early = {first: each for first, each in self._early.items() if first > self.ring.tail}
        self._rounds.wake()

    # -- catching up with the log

    def look(self, hint: int = 0) -> None:
        """Read the log after the ring's tail, up to ``hint`` if given.

        The hint need not be true: if it is false, the page is empty.
        """
        self._hint = max(self._hint, hint)
        self._look_again = True
        if self._catching_up is None and self.epoch:
            self._catching_up = self._spawn(self._catch_up())
            self._catching_up.add_done_callback(self._caught_up)

    def _caught_up(self, task: asyncio.Task[None]) -> None:
        self._catching_up = None
        if task.cancelled():
            return
        if error := task.exception():
            logger.error(
                "Channel %r could not catch up with the log; retrying.",
                self.channel,
                exc_info=error,
            )
            self._loop.call_later(_RETRY_LOG, self.look)
        elif self._look_again:
            self.look()

    async def _catch_up(self) -> None:
        while self._look_again:
            self._look_again = False
            self._skip_what_the_ring_cannot_hold()
            generation, after, known = self.generation, self.ring.tail, self._known
            hint, self._hint = max(self._hint, known), 0
            limit = constants.PAGE_EVENTS
            if hint > after:
                limit = min(hint - after, limit)
            records = _after_the_last_hole(await self._read(after, limit))
            if generation != self.generation:
                return
            if records and records[-1].seq > self.ring.tail:
                if records[0].seq > self.ring.tail + 1:
                    self.ring.restart(records[0].seq - 1)
                self._append(records)
                # A page that reaches the hint has all events that are known so far.
                self._look_again |= not after < hint <= self.ring.tail
            elif records and hint > self.ring.tail:
                # The page was cut at its maximum size, and its events were delivered meanwhile.
                self._hint, self._look_again = max(self._hint, hint), True
            elif known > self.ring.tail:
                self.ring.restart(known)
                await self._hub.check(self)
                self._rounds.wake()

    def _skip_what_the_ring_cannot_hold(self) -> None:
        behind = self._known - self.ring.tail
        if behind > self._ring_events:
            self.ring.restart(self._known - self._ring_events)

    async def _read(self, after: int, limit: int) -> list[Record]:
        """Return one page, retrying as long as the database does not respond."""
        while True:
            redactions = self.redactions
            try:
                records = await self._hub.run(self._hub.log.read, self.key, after, limit)
            except LogUnavailable as error:
                logger.warning("Streams of channel %r wait for the log: %s", self.channel, error)
                await asyncio.sleep(_RETRY_LOG)
            else:
                # Otherwise one of them may have been redacted meanwhile: read again.
                if redactions == self.redactions:
                    return records

    # -- replay

    async def page(self, after: int) -> list[Frame]:
        """Return the frames after a cursor that the ring no longer covers; callers share a read.

        The list is empty if the ring covers the cursor by now. Raises ``Hole`` if the log no longer
        has the event that follows ``after``.
        """
        if self._filling is None and self.ring.start - after <= self._ring_events:
            self._filling = self._spawn(self._fill())
        if self._filling is not None and not self._filling.done():
            await asyncio.shield(self._filling)
        if after >= self.ring.start:
            return []
        if recent := self._recent_after(after):
            return recent
        task = self._pages.get(after)
        if task is None:
            task = self._pages[after] = self._spawn(self._load(after))
            task.add_done_callback(lambda done: self._loaded(after, done))
        # Shielded: if one stream's client leaves, that must not cancel the other streams' read.
        return await asyncio.shield(task)

    async def _fill(self) -> None:
        """Fill a new topic's ring with the newest events.

        Ten thousand clients that reconnect after a deploy, each at a different position, then cost
        one replay.
        """
        generation, redactions = self.generation, self.redactions
        lowest = max(0, self.ring.start - self._ring_events)
        step = constants.PAGE_EVENTS
        # Backwards from the newest: there may be room for only a few.
        while (start := self.ring.start) > lowest:
            after = max(lowest, start - step)
            records = await self._read(after, start - after)
            if not records or (generation, redactions) != (self.generation, self.redactions):
                return
            if records[-1].seq < start:
                # The events are large: the page reached its maximum size before the ring's start.
                step = len(records)
                continue
            self.ring.prepend([encode_record(self.epoch, each) for each in records])
            if self.ring.start > after:
                return

    def _forget_pages(self) -> None:
        self._pages.clear()
        self._recent.clear()

    def _recent_after(self, cursor: int) -> list[Frame]:
        """Return the frames after ``cursor``, if one of the pages read most recently has them."""
        for after, frames in self._recent.items():
            if after <= cursor < frames[-1].seq:
                self._recent.move_to_end(after)
                return frames[cursor - after :] if cursor > after else frames
        return []

    def _loaded(self, after: int, task: asyncio.Task[list[Frame]]) -> None:
        if self._pages.get(after) is task:
            del self._pages[after]
        if not task.cancelled():
            task.exception()

    async def _load(self, after: int) -> list[Frame]:
        known, epoch, generation = self._known, self.epoch, self.generation
        records = await self._read(after, constants.PAGE_EVENTS)
        if not records:
            if max(known, self.ring.start) > after:
                raise Hole
            return []
        if records[0].seq != after + 1 or records[-1].seq - after != len(records):
            raise Hole
        frames = [encode_record(epoch, record) for record in records]
        if generation == self.generation:
            self._recent[after] = frames
            while len(self._recent) > _RECENT_PAGES:
                self._recent.popitem(last=False)
        return frames

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        # A fresh context: the caller's context would keep its request and its thread alive.
        return self._loop.create_task(work, context=Context())
