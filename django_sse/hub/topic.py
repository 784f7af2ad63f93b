"""The live side of a channel in one process: its ring, and the reads that keep the ring current."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from typing import TYPE_CHECKING

from django_sse import conf, constants
from django_sse.exceptions import LogUnavailable
from django_sse.hub.pages import Pages, read_after
from django_sse.hub.ring import Ring, encode_records
from django_sse.hub.rounds import Rounds
from django_sse.wire.cursor import is_empty, tag_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any, TypeVar

    from django_sse.hub.hub import Hub
    from django_sse.hub.rounds import Waiter
    from django_sse.log.base import Appended, Head, Page, Record
    from django_sse.wire.cursor import Position

    T = TypeVar("T")

logger = logging.getLogger("django_sse")

_RETRY_LOG = 0.5


def _after_the_last_hole(records: Sequence[Record]) -> Sequence[Record]:
    """Return the end of a page that has no holes, since a ring cannot hold holes.

    A stream whose position is before the hole reads the page itself and detects the hole.
    """
    for index in range(len(records) - 1, 0, -1):
        if records[index].seq != records[index - 1].seq + 1:
            return records[index:]
    return records


class Topic:
    """All reads of the log for one channel, each shared among the streams that need it.

    ``generation`` is incremented if the log has been replaced (wiped or rewound). A stream that
    sees a new generation tells its client.
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
        self.ring = Ring(0, None, max_bytes=limits.RING_BYTES, max_events=limits.RING_EVENTS)
        self.pages = Pages(self, limits.RING_EVENTS)
        self.waiters: set[Waiter] = set()
        self.unused_since: float | None = None
        self._hub = hub
        self._ring_events = limits.RING_EVENTS
        self._loop = asyncio.get_running_loop()
        # The highest seq that is in the log according to the database or a commit of this process.
        self._known = 0
        self._early: dict[int, Appended] = {}
        self._catching_up: asyncio.Task[None] | None = None
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
        self.ring.restart(head.head, head.head_tag)
        self.pages.clear()
        self._early.clear()
        missed = self._known
        self._known = head.head
        self.expect(missed)

    def renew(self, epoch: str) -> None:
        """Note that the channel still had no row in the minute of this empty ``epoch``."""
        self.epoch = epoch

    def adopt(self, epoch: str, key: int) -> None:
        """Note that the channel got a row. The row has all its events, so no stream missed any."""
        self.epoch, self.key = epoch, key

    def restart(self, head: Head, reason: str) -> None:
        """Start again because the log was replaced; every stream tells its client."""
        logger.warning(
            "The log of channel %r was replaced: %s. Its clients get a stream-reset.",
            self.channel,
            reason,
        )
        self.generation += 1
        self.reason = reason
        self._known = 0
        self.start(head)
        self._rounds.wake()

    async def replaced(self, generation: int) -> None:
        """Start again, unless that was done already, because an event of another log was seen."""
        await self._hub.replaced(self, generation)

    def expect(self, seq: int) -> None:
        """Read up to ``seq``, which is committed."""
        self._known = max(self._known, seq)
        if self._known > self.ring.tail:
            self.look()

    async def reach(self, seq: int) -> None:
        """Read up to ``seq``, as ``expect`` does, and wait until the read is done or has failed."""
        self.expect(seq)
        while self.ring.tail < seq and self._catching_up is not None:
            await asyncio.wait([self._catching_up])

    async def check(self) -> None:
        """Compare with the log, and read the missing events. Both can show that it was replaced."""
        await self._hub.check(self)
        await self.reach(self._known)

    def jump(self, head: Head) -> None:
        """Go on from ``head``: the events before it were trimmed."""
        self._known = max(self._known, head.head)
        self.ring.restart(head.head, head.head_tag)

    def forget_frames(self, redactions: int) -> None:
        """Drop all events in memory because one was redacted; streams read the log again."""
        self.redactions = redactions
        self._early.clear()
        self.pages.clear()
        self.ring.restart(self.ring.tail, self.ring.tail_tag)
        for waiter in self.waiters:
            waiter.forget_pages()

    # -- live events

    def deliver(self, appended: Appended) -> None:
        """Add events that this process has just committed."""
        if not self.epoch:
            self._known = max(self._known, appended.records[-1].seq)
            return
        first, last = appended.records[0].seq, appended.records[-1].seq
        if is_empty(self.epoch) and first == 1 and appended.key:
            self.adopt(appended.epoch, appended.key)
        if appended.epoch != self.epoch:
            self.spawn(self._hub.check(self))
            return
        self._known = max(self._known, last)
        if first > self.ring.tail + 1:
            # Two threads committed one after the other, but delivered in the opposite order.
            self._early[first] = appended
            self._loop.call_later(constants.GAP_WAIT, self._expect_of, self.generation, last)
            return
        later: Appended | None = appended
        while later is not None and self._take(later):
            later = self._early.pop(self.ring.tail + 1, None)

    def _take(self, appended: Appended) -> bool:
        """Add the events that the ring does not have; return False if they are of another log."""
        if not self._continue(appended.before, appended.records):
            # Another event has the same number: the log was rewound.
            self.spawn(self.replaced(self.generation))
            return False
        self._append(appended.records)
        return True

    def _continue(self, before: str | None, records: Sequence[Record]) -> bool:
        """Return whether ``records``, without holes, may be of the ring's log.

        Compares the newest event that both have, because the ring may not know the first one. If
        that event agrees, so do all before it. ``before`` is the tag of the event before them.
        """
        if not records:
            return True
        first = records[0].seq
        seq = min(self.ring.tail, records[-1].seq)
        if seq < first:
            return self.ring.follows(first - 1, before)
        return self.ring.follows(seq, tag_of(records[seq - first].nonce))

    @property
    def newest(self) -> tuple[int, str]:
        """The seq and the tag of the newest event that the log is known to have."""
        assert self.ring.tail_tag is not None
        return self.ring.tail, self.ring.tail_tag

    def agrees(self, position: Position) -> bool:
        """Return whether ``position`` may be one of this topic's. True if it is before the ring.

        False for a position that was read from the log means that the log was replaced.
        """
        epoch, seq, tag = position
        return epoch == self.epoch and seq <= self.ring.tail and self.ring.follows(seq, tag)

    def _expect_of(self, generation: int, seq: int) -> None:
        # A seq of the log before it was replaced would make the new one look rewound.
        if generation == self.generation:
            self.expect(seq)

    def _append(self, records: Sequence[Record]) -> None:
        tail = self.ring.tail
        frames = encode_records(self.epoch, [each for each in records if each.seq > tail])
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
            self._catching_up = self.spawn(self._catch_up())
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
            generation, known = self.generation, self._known
            # Not the events for which the ring has no room.
            after = max(self.ring.tail, known - self._ring_events)
            hint, self._hint = max(self._hint, known), 0
            limit = constants.PAGE_EVENTS
            if hint > after:
                limit = min(hint - after, limit)
            page = await self.read(after, limit)
            if generation != self.generation:
                return
            records = _after_the_last_hole(page.records)
            if not self.ring.follows(after, page.tag) or not self._continue(None, records):
                await self.replaced(generation)
                return
            if records and records[-1].seq > self.ring.tail:
                if (before := records[0].seq - 1) > self.ring.tail:
                    self.ring.restart(before, page.tag if before == after else None)
                self._append(records)
                # A page that reaches the hint has all events that are known so far.
                self._look_again |= not after < hint <= self.ring.tail
            elif records and hint > self.ring.tail:
                # The page was cut at its maximum size, and its events were delivered meanwhile.
                self._hint, self._look_again = max(self._hint, hint), True
            elif known > self.ring.tail:
                await self._find_missing()

    async def _find_missing(self) -> None:
        """Ask for the head, because events that were known are not in the log.

        Either they were trimmed, or their log was replaced before this topic read them.
        """
        self._known = self.ring.tail
        if is_empty(self.epoch):
            await self._hub.check(self)
        else:
            await self._hub.check(self, Topic.jump)
        self._rounds.wake()

    async def read(self, after: int, limit: int) -> Page:
        """Return one page, retrying as long as the database does not respond."""
        while True:
            redactions = self.redactions
            try:
                page = await self._hub.run(
                    read_after, self._hub.log, self.channel, self.key, after, limit
                )
            except LogUnavailable as error:
                logger.warning("Streams of channel %r wait for the log: %s", self.channel, error)
                await asyncio.sleep(_RETRY_LOG)
            else:
                # Otherwise one of them may have been redacted meanwhile: read again.
                if redactions == self.redactions:
                    return page

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``work`` on the topic's loop."""
        # A fresh context: the caller's context would keep its request and its thread alive.
        return self._loop.create_task(work, context=Context())
