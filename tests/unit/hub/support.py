"""What the tests of the live side share: a log and a notifier of their own, and a client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from django_sse.exceptions import LogUnavailable
from django_sse.hub.channel_stream import ChannelStream
from django_sse.hub.registry import announce, get_hub
from django_sse.hub.topic import Topic
from django_sse.log import get_log
from django_sse.log.base import Appended, Entry, Head, Kind, Page
from django_sse.log.memory import MemoryLog
from django_sse.notifiers import Notifier, Wakeup, get_notifier
from django_sse.process import database
from django_sse.wire import HEARTBEAT, Decoder, MessageEvent
from django_sse.wire.cursor import NO_TAG, Position
from tests.appending import append_to, finish_in

TIMEOUT = 60.0


class WatchedLog(MemoryLog):
    """A log in memory that counts what it is asked, and can be held, be away and lose rows."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Forget everything, as between two tests."""
        self.clear()
        self.reads: list[int] = []
        self.tags_asked: list[int] = []
        self.on_tag: Callable[[], object] = lambda: None
        self.head_queries = 0
        self.heads_opened: list[str] = []
        self.orphan_queries = 0
        self.away = False
        self.failures: list[Exception] = []
        self.missing: set[int] = set()
        self.stuck: set[str] = set()
        self.stuck_by: Exception = LogUnavailable("the database is read-only")
        self.asked = threading.Event()
        self._answer = threading.Event()
        self._held = ""

    @property
    def queries(self) -> int:
        """Everything it was asked so far."""
        asked = len(self.reads) + len(self.tags_asked)
        return asked + self.head_queries + self.orphan_queries

    @contextmanager
    def held(self, method: str = "read") -> Iterator[None]:
        """Calls of ``method`` take their snapshot, and answer when the block ends."""
        self.asked.clear()
        self._answer.clear()
        self._held = method
        try:
            yield
        finally:
            self._held = ""
            self._answer.set()

    def _hold(self, method: str) -> None:
        if self._held == method:
            self.asked.set()
            assert self._answer.wait(TIMEOUT)

    def _refuse_while_away(self) -> None:
        if self.away:
            raise LogUnavailable("the database is away")
        if self.failures:
            raise self.failures.pop(0)

    def read(self, key: int, after: int, limit: int) -> Page:
        self.reads.append(after)
        self._refuse_while_away()
        page = super().read(key, after, limit + len(self.missing))
        self._hold("read")
        there = [record for record in page.records if record.seq not in self.missing]
        return Page(None if after in self.missing else page.tag, there[:limit])

    def tag(self, key: int, seq: int) -> str | None:
        self.tags_asked.append(seq)
        self._refuse_while_away()
        self.on_tag()
        found = super().tag(key, seq)
        return None if seq in self.missing else found

    def open(self, channels: Sequence[str]) -> list[Head]:
        self.head_queries += 1
        self._refuse_while_away()
        self.heads_opened.extend(channels)
        opened = super().open(channels)
        self._hold("open")
        return opened

    def make(self, channels: Sequence[str]) -> list[Head]:
        self._refuse_while_away()
        return super().make(channels)

    def heads(self, channels: Iterable[str]) -> dict[str, Head]:
        self.head_queries += 1
        self._refuse_while_away()
        found = super().heads(channels)
        self._hold("heads")
        return found

    def orphans(self, limit: int = 100, *, after: str = "") -> list[str]:
        self.orphan_queries += 1
        self._refuse_while_away()
        return sorted(each for each in self.stuck if each > after)[:limit]

    def sequence(self, channels: Iterable[str], *, wait: float = 0.0) -> list[Appended]:
        # It has no outbox: what waits is what cannot be sequenced.
        if self.stuck.intersection(channels):
            raise self.stuck_by
        return super().sequence(channels, wait=wait)

    # -- by other hands

    def restore(self, channel: str, head: int) -> None:
        """Put back an older copy, which ends at ``head``."""
        found = self._channels[channel]
        del found.records[head - found.floor :], found.created[head - found.floor :]

    def rewrite(self, channel: str, count: int, *data: str) -> list[Appended]:
        """Put back an older copy, which has ``count`` events less, and publish others there."""
        self.restore(channel, self._channels[channel].head - count)
        return commit_elsewhere(channel, *data)

    def epoch(self, channel: str) -> str:
        """The epoch of a channel, without counting the question."""
        (head,) = MemoryLog.open(self, [channel])
        return head.epoch

    def floor(self, channel: str) -> int:
        """The floor of a channel, without counting the question."""
        return self._channels[channel].floor

    def position(self, channel: str, seq: int | None = None) -> Position:
        """The position after an event, by default the newest; the query is not counted."""
        (found,) = MemoryLog.open(self, [channel])
        if seq is None:
            return found.position
        tag = found.tag(seq) or MemoryLog.tag(self, found.key, seq)
        return Position(found.epoch, seq, tag or ("000000" if seq else NO_TAG))


class HandNotifier(Notifier):
    """Wakes when the test says so, with whatever the test says."""

    supports_other_processes = True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.notified: list[Wakeup] = []
        self.listeners: list[Callable[[Wakeup | None], None]] = []
        self.failures: list[BaseException] = []
        self.listens = 0
        self.greets = True
        self._connections: list[asyncio.Future[None]] = []

    def notify(self, wakeups: Sequence[Wakeup]) -> None:
        self.notified.extend(wakeups)

    async def listen(self, wake: Callable[[Wakeup | None], None]) -> None:
        self.listens += 1
        if self.failures:
            raise self.failures.pop(0)
        if self.greets:
            wake(None)
        self.listeners.append(wake)
        connection = asyncio.get_running_loop().create_future()
        self._connections.append(connection)
        try:
            await connection
        finally:
            self._connections.remove(connection)
            self.listeners.remove(wake)

    def fail(self, error: Exception) -> None:
        """The transport breaks."""
        for connection in self._connections:
            connection.set_exception(error)

    def tell(self, wakeup: Wakeup | None) -> None:
        """A message from another process, as every hub hears it."""
        for wake in self.listeners:
            wake(wakeup)


class PollingNotifier(HandNotifier):
    """The same, for a transport that polls by itself."""

    supports_polling = True


def watched_log() -> WatchedLog:
    """The log in force."""
    log = get_log()
    assert isinstance(log, WatchedLog)
    return log


def hand_notifier() -> HandNotifier:
    """The notifier in force."""
    notifier = get_notifier()
    assert isinstance(notifier, HandNotifier)
    return notifier


def entries(channel: str, *data: str) -> list[Entry]:
    return [Entry(channel, "", each) for each in data]


def commit(channel: str, *data: str) -> list[Appended]:
    """Another thread of this process publishes."""
    appended = append_to(get_log(), entries(channel, *data))
    announce(appended)
    return appended


def commit_elsewhere(channel: str, *data: str) -> list[Appended]:
    """Another process publishes, and nobody tells of it."""
    return append_to(get_log(), entries(channel, *data))


def end(channel: str, data: str = "[DONE]") -> None:
    """The channel finishes."""
    announce(finish_in(get_log(), Entry(channel, "close", data, Kind.TERMINAL, "done")))


def numbers(first: int, last: int) -> list[str]:
    """The data of events ``first`` … ``last`` in tests that publish their own numbers."""
    return [str(number) for number in range(first, last + 1)]


def texts(events: Iterable[MessageEvent]) -> list[str]:
    return [event.data for event in events]


class Client:
    """Reads a stream, decodes it and counts its heartbeats.

    ``last_event_id`` is what it would bring with its next request, were it cut after the events
    that the test took.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.chunks: list[bytes] = []
        self.heartbeats = 0
        self.last_event_id = ""
        self._decoder = Decoder()
        self._events: list[MessageEvent] = []

    @property
    def reconnection_time(self) -> int | None:
        return self._decoder.reconnection_time

    async def chunk(self) -> bytes:
        """The next ``bytes`` of the body. Raises ``StopAsyncIteration`` at the end."""
        async with asyncio.timeout(TIMEOUT):
            chunk = await anext(self.stream)
        self.chunks.append(chunk)
        if chunk == HEARTBEAT:
            self.heartbeats += 1
        else:
            assert chunk.endswith(b"\n\n"), "a chunk that is not whole frames"
        self._events += self._decoder.feed(chunk)
        return chunk

    async def next(self) -> MessageEvent:
        """The next event. Raises ``StopAsyncIteration`` at the end."""
        while not self._events:
            await self.chunk()
        event = self._events.pop(0)
        self.last_event_id = event.last_event_id
        return event

    async def take(self, count: int) -> list[MessageEvent]:
        """The next ``count`` events."""
        return [await self.next() for _ in range(count)]

    async def take_until(self, data: str) -> list[MessageEvent]:
        """The events up to and with the one that carries ``data``."""
        events = [await self.next()]
        while events[-1].data != data:
            events.append(await self.next())
        return events

    async def rest(self) -> list[MessageEvent]:
        """The events up to the end of the stream."""
        events = []
        while True:
            try:
                events.append(await self.next())
            except StopAsyncIteration:
                return events

    async def opened(self) -> MessageEvent:
        """The stream-open, which has to be the first event."""
        event = await self.next()
        assert event.type == "stream-open", event
        return event


@asynccontextmanager
async def connected(
    *channels: str, last_event_id: str | None = None, **options: Any
) -> AsyncIterator[Client]:
    """A client whose request has been answered with a stream, of which it has read nothing."""
    stream = ChannelStream(*channels, **options)
    if last_event_id is not None:
        stream.last_event_id = last_event_id
        await database.run(stream.settle)
    try:
        yield Client(stream)
    finally:
        stream.close()


@asynccontextmanager
async def listening(*channels: str, **options: Any) -> AsyncIterator[Client]:
    """A client that has its ``stream-open`` and waits."""
    async with connected(*channels, **options) as client:
        await client.opened()
        yield client


async def eventually(condition: Callable[[], object]) -> None:
    """Returns once the condition holds, which the loop's other tasks bring about.

    For what no stream tells of: each turn of the loop is one look.
    """
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - it may be anything, so there is no event
            await asyncio.sleep(0.001)


def in_ring(topic: Topic) -> list[str]:
    """The data of the ring's events."""
    frames = topic.ring.frames(topic.ring.start)
    return [event.data for event in Decoder().feed(b"".join(frame.data for frame in frames))]


async def read_up_to(topic: Topic, seq: int) -> None:
    """Return once the topic has event ``seq``."""
    await eventually(lambda: topic.ring.tail == seq)


class Reader:
    """A waiter that counts what a topic tells it."""

    def __init__(self) -> None:
        self.wakes = 0
        self.forgotten = 0
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self.wakes += 1
        self._woken.set()

    def forget_pages(self) -> None:
        self.forgotten += 1

    async def woken(self) -> None:
        """Returns at the next wake."""
        self._woken.clear()
        async with asyncio.timeout(TIMEOUT):
            await self._woken.wait()


async def asked(log: WatchedLog) -> None:
    """Returns when a call has its snapshot (inside ``log.held()``)."""
    assert await asyncio.to_thread(log.asked.wait, TIMEOUT)


async def open_topic(reader: Reader | None = None) -> Topic:
    """The topic of channel "a", which has a row, when a stream joins it."""
    get_log().make(["a"])
    return await get_hub().topic("a", reader or Reader())


def append(*data: str) -> Appended:
    """Events that this process has committed, on their way to the topic."""
    (appended,) = commit_elsewhere("a", *data)
    return appended
