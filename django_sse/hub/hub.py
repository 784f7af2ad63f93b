"""One hub for each event loop: its topics, and the tasks that they share.

Ten thousand idle streams have one listener and one safety poll between them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any

from django_sse import conf, constants
from django_sse.exceptions import LogUnavailable
from django_sse.hub.orphans import Orphans
from django_sse.hub.topic import Topic
from django_sse.log import get_log
from django_sse.notifiers import get_notifier
from django_sse.process import database
from django_sse.process.supervision import RESTART_PAUSE, supervise
from django_sse.streams.pulse import get_pulse
from django_sse.wire.cursor import is_empty

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from typing import ParamSpec, TypeVar

    from django_sse.hub.rounds import Waiter
    from django_sse.log.base import Appended, EventLog, Head
    from django_sse.notifiers import Wakeup

    P = ParamSpec("P")
    T = TypeVar("T")

logger = logging.getLogger("django_sse")


def _read(topic: Topic, head: Head) -> None:
    topic.expect(head.head)


def _reason(epoch: str, head: Head) -> str:
    """Return why clients' positions in ``epoch`` cannot be honoured, now that there is ``head``."""
    if head.epoch == epoch:
        return "rewound"
    return "trimmed" if is_empty(epoch) else "unknown"


class Hub:
    """The topics of one loop; ``deliver`` and ``check_soon`` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.topics: dict[str, Topic] = {}
        self._loop = loop
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._listeners: list[asyncio.Task[None]] = []
        self._inbox: deque[Appended] = deque()
        self._listening: asyncio.Event = asyncio.Event()
        self._check_wanted: asyncio.Event = asyncio.Event()
        self._checks = 0
        self._orphans = Orphans()

    @property
    def log(self) -> EventLog:
        """The log that the settings name."""
        return get_log()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``call`` in one of the library's database threads."""
        return await database.run(call, *args, **kwargs)

    def run_later(self, call: Callable[[], object]) -> Future[object]:
        """Run a project's ``call`` in a thread that may use the database; an error is logged."""
        return database.run_later(call)

    # -- topics

    async def topic(self, channel: str, waiter: Waiter) -> Topic:
        """Return the live side of ``channel``, which from now on wakes ``waiter``.

        The hub listens before it reads the head, so it hears of what is published in between. The
        topic is registered before its head is read, so it also notes this process's own commits.
        """
        get_pulse().attend(self)
        self._ensure_listening()
        topic = self.topics.get(channel)
        if topic is None:
            topic = self.topics[channel] = Topic(self, channel)
            # In the caller's context: in a test run the query runs in the caller's thread, and the
            # thread of a sync view, which waits for this, runs nothing else.
            self._opening[channel] = self._loop.create_task(self._open(topic))
        topic.waiters.add(waiter)
        topic.unused_since = None
        try:
            if opening := self._opening.get(channel):
                await asyncio.shield(opening)
        except BaseException:
            topic.waiters.discard(waiter)
            self.release([topic])
            raise
        return topic

    async def _open(self, topic: Topic) -> None:
        try:
            await self._listening.wait()
            checks = self._checks
            (head,) = await self.run(self.log.open, [topic.channel])
            topic.start(head)
            if self._checks != checks:
                # A check in the meantime has compared all topics but this one.
                self._check_wanted.set()
        except BaseException:
            if self.topics.get(topic.channel) is topic:
                del self.topics[topic.channel]
            raise
        finally:
            self._opening.pop(topic.channel, None)

    def release(self, topics: Sequence[Topic]) -> None:
        """Note that a stream has left ``topics``; topics without streams are dropped later."""
        for topic in topics:
            if not topic.waiters:
                topic.unused_since = self._loop.time()

    def forget(self, channel: str) -> None:
        """Drop the topic of ``channel``, which was removed from the log, if nobody streams it."""
        topic = self.topics.get(channel)
        if topic is not None and not topic.waiters and channel not in self._opening:
            del self.topics[channel]

    def _drop_unused(self) -> None:
        linger = constants.TOPIC_LINGER
        now = self._loop.time()
        for channel, topic in list(self.topics.items()):
            since = topic.unused_since
            if channel in self._opening or topic.waiters or since is None:
                continue
            if now - since >= linger:
                del self.topics[channel]

    # -- what arrives

    def deliver(self, appended: Sequence[Appended]) -> None:
        """Take what this process has just committed; from any thread."""
        wanted = [each for each in appended if each.channel in self.topics]
        if wanted:
            self._inbox.extend(wanted)
            # A loop that is being closed has no streams left.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._empty_inbox)

    def _empty_inbox(self) -> None:
        while self._inbox:
            appended = self._inbox.popleft()
            if topic := self.topics.get(appended.channel):
                topic.deliver(appended)

    def _woken(self, wakeup: Wakeup | None) -> None:
        """Take a notifier's hint; it can only cause a look at the log."""
        self._listening.set()
        if wakeup is None:
            self._check_wanted.set()
        elif topic := self.topics.get(wakeup.channel):
            if topic.epoch != wakeup.epoch:
                self._check_wanted.set()
            elif wakeup.seq > topic.ring.tail:
                topic.look(wakeup.seq)
            elif not topic.ring.follows(wakeup.seq, wakeup.tag):
                self._check_wanted.set()

    # -- comparing with the log

    def check_soon(self) -> None:
        """Compare all topics with the log soon; from any thread."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._check_wanted.set)

    async def check(self, topic: Topic, behind: Callable[[Topic, Head], object] = _read) -> None:
        """Compare one topic with the log, and retry while the database does not answer."""
        while True:
            try:
                return await self._compare([topic], behind)
            except LogUnavailable as error:
                logger.warning("Channel %r waits for the log: %s", topic.channel, error)
                await asyncio.sleep(RESTART_PAUSE)

    async def _compare(
        self, topics: Sequence[Topic], behind: Callable[[Topic, Head], object]
    ) -> None:
        """Compare ``topics`` with the log, and call ``behind`` for each that lacks events.

        The topics' positions are noted before the query. So a head that is lower or has another tag
        shows that the log was rewound, and not that the answer is out of date.
        """
        before = [
            (topic, topic.generation, (topic.epoch, topic.ring.tail, topic.ring.tail_tag))
            for topic in topics
            if topic.epoch
        ]
        heads = await self.run(self.log.heads, [topic.channel for topic, *_ in before])
        for topic, generation, position in before:
            if topic.generation != generation:
                # It started again, perhaps from a head older than the event that caused this call.
                topic.look()
                continue
            head = heads.get(topic.channel)
            if head is None and not topic.waiters:
                # Nobody streams it any more.
                self.forget(topic.channel)
            elif is_empty(position[0]):
                await self._compare_empty(topic, generation, head, behind)
            elif head is None or not head.may_follow(*position):
                await self.replaced(topic, generation)
            else:
                self._take_head(topic, head, behind)

    async def _compare_empty(
        self,
        topic: Topic,
        generation: int,
        head: Head | None,
        behind: Callable[[Topic, Head], object],
    ) -> None:
        """Compare a topic that had an empty epoch before the query for ``head``."""
        if head is None:
            return
        if is_empty(topic.epoch):
            if head.floor:
                await self.replaced(topic, generation)
                return
            topic.adopt(head.epoch, head.key)
        # Otherwise this process has made the row meanwhile. Others may have published there, too.
        if head.epoch == topic.epoch:
            self._take_head(topic, head, behind)

    def _take_head(self, topic: Topic, head: Head, behind: Callable[[Topic, Head], object]) -> None:
        if head.redactions != topic.redactions:
            topic.forget_frames(head.redactions)
        if head.state:
            topic.terminal = head.head
        if head.head > topic.ring.tail:
            behind(topic, head)

    async def replaced(self, topic: Topic, generation: int) -> None:
        """Restart ``topic`` with the current log, unless its ``generation`` is over already."""
        while topic.generation == generation:
            try:
                (head,) = await self.run(self.log.open, [topic.channel])
            except LogUnavailable as error:
                logger.warning("Channel %r waits for the log: %s", topic.channel, error)
                await asyncio.sleep(RESTART_PAUSE)
                continue
            if topic.generation == generation:
                topic.restart(head, _reason(topic.epoch, head))
                return
        # Another task has restarted it, perhaps from a head that is older than the event seen here.
        topic.look()

    # -- the shared tasks

    def _ensure_listening(self) -> None:
        if not self._listeners:
            self._listeners = [
                self._spawn(supervise(work))
                for work in (self._listen, self._check, self._safety_poll)
            ]

    async def _listen(self) -> None:
        # Set even if the notifier does not answer: the safety poll alone is then enough.
        timer = self._loop.call_later(RESTART_PAUSE, self._listening.set)
        self._check_wanted.set()
        notifier = get_notifier()
        if not notifier.supports_other_processes:
            self._listening.set()
        try:
            await notifier.listen(self._woken)
        finally:
            if not self._listeners:
                timer.cancel()

    async def _check(self) -> None:
        while True:
            await self._check_wanted.wait()
            self._check_wanted.clear()
            self._checks += 1
            try:
                await self._compare(list(self.topics.values()), _read)
            except Exception:
                # Nobody will ask for this check again.
                self._check_wanted.set()
                raise

    def beat(self) -> bool:
        """Called by the pulse: drop the topics that nobody has used for a while."""
        self._drop_unused()
        if not self.topics:
            self._stop_listening()
        return bool(self.topics)

    def _stop_listening(self) -> None:
        """Stop listening: an idle process must not poll."""
        tasks, self._listeners = self._listeners, []
        self._listening.clear()
        for task in tasks:
            task.cancel()

    async def _safety_poll(self) -> None:
        while True:
            await asyncio.sleep(conf.current().SAFETY_INTERVAL)
            await self.run(self._orphans.sequence)
            await self._compare(list(self.topics.values()), self._repair_later)

    def _repair_later(self, topic: Topic, head: Head) -> None:
        # An event that was committed a moment ago is no repair: its wake-up may be on the way.
        self._loop.call_later(RESTART_PAUSE, self._repair, topic, topic.generation, head.head)

    def _repair(self, topic: Topic, generation: int, seq: int) -> None:
        if topic.generation != generation or topic.ring.tail >= seq:
            return
        notifier = get_notifier()
        if notifier.supports_other_processes and not notifier.supports_polling:
            logger.warning(
                "The safety poll found events of channel %r that %s did not tell of.",
                topic.channel,
                type(notifier).__name__,
            )
        topic.expect(seq)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        return self._loop.create_task(work, context=Context())
