"""A stream of the events of one or more channels: a cursor, not a queue."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from typing import TYPE_CHECKING, ClassVar

from django_sse import constants
from django_sse.dialects.plain import PLAIN
from django_sse.exceptions import InvalidChannel, LogUnavailable
from django_sse.hub.orphans import catch_up
from django_sse.hub.pages import Hole
from django_sse.hub.position import ChannelPosition, Settled, Since, check_since, join, settle
from django_sse.hub.registry import get_hub
from django_sse.hub.ring import join_frames, leading
from django_sse.log import get_log
from django_sse.log.entries import validate_channel
from django_sse.process import database
from django_sse.streams.ends import COMPLETE, UNAVAILABLE, last_frames
from django_sse.streams.state import OPEN, PARKED
from django_sse.streams.stream import Stream
from django_sse.wire.cursor import MAX_CHANNELS
from django_sse.wire.encoder import dumps, encode, encode_body, with_id
from django_sse.wire.event import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from django_sse.hub.hub import Hub

logger = logging.getLogger("django_sse")


class ChannelStream(Stream):
    """The stream behind a subscription.

    Replay, catching up after a stall and live are one path: take what is after the cursor, from the
    ring or, behind it, from a page of the log.
    """

    internal: ClassVar[bool] = False
    """Whether it may read internal channels."""

    def __init__(
        self,
        *channels: str,
        since: Since = "now",
        on_open: Callable[[], object] | None = None,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self.channels = tuple(validate_channel(each, internal=self.internal) for each in channels)
        if not self.channels:
            raise ValueError("subscribe() needs the name of at least one channel.")
        if len(self.channels) > MAX_CHANNELS:
            raise InvalidChannel(
                f"One stream carries at most {MAX_CHANNELS} channels, not {len(self.channels)}. "
                "Open a second stream, or publish the events to a channel that they share."
            )
        if len(set(self.channels)) < len(self.channels):
            raise InvalidChannel("A channel is named twice in one subscribe().")
        check_since(since)
        self._since = since
        self._on_open = on_open
        self._on_close = on_close
        self._settled: Settled | None = None
        self._live: Hub | None = None
        self._positions: list[ChannelPosition] = []
        self._opening = b""
        self._turn = 0
        self._opened = False
        self._hook: Future[object] | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._limit = constants.WRITE_BYTES

    # -- the position

    async def open(self) -> bool:
        """See ``settle``."""
        return await database.run(self.settle)

    def open_in_thread(self) -> bool:
        """See ``settle``."""
        return self.settle()

    def settle(self) -> bool:
        """Read the log and decide where the stream begins: before the headers, off the loop.

        The client's own position comes before ``since``. Returns whether anything can still come:
        a stream that is at its end is answered with 204. Raises ``LogUnavailable``.
        """
        log = get_log()
        catch_up(self.channels)
        self._settled = settle(log, self.channels, self.last_event_id, self._since)
        return not self._settled.finished

    async def _start(self) -> None:
        hub = get_hub()
        self._live = hub
        self.attach()
        try:
            await self._while_open(self._join(hub))
        except LogUnavailable as error:
            channels = ", ".join(map(repr, self.channels))
            logger.warning("A stream of %s is sent away: %s", channels, error)
            self.drain(UNAVAILABLE)
            return
        if self.state is not OPEN:
            return
        self._opening = self._reset_frame() + self._open_frame()
        if self._settled is not None and self._settled.finished:
            # The headers are out: without this the client would reconnect for ever.
            self._opening = last_frames(COMPLETE.events(PLAIN))
        self._opened = True
        # An idle stream holds only what it needs.
        self._settled = None
        if self._on_open is not None:
            self._hook = hub.run_later(self._on_open)

    async def _join(self, hub: Hub) -> None:
        if self._settled is None:
            await self.open()
        settled = self._settled
        assert settled is not None
        for index, (head, begin) in enumerate(zip(settled.heads, settled.positions, strict=True)):
            topic = await hub.topic(head.channel, self)
            position = ChannelPosition(
                topic, begin.seq, begin.tag, topic.generation, [], settled.resets.get(index, "")
            )
            # Before anything is awaited: a closed stream leaves the topics of its positions.
            self._positions.append(position)
            position.reset = await join(topic, head, begin, position.reset)
            position.generation = topic.generation

    def forget_pages(self) -> None:
        """Drop the pages that were read before an event was redacted."""
        for position in self._positions:
            position.page = []

    def _id(self) -> str:
        return ".".join(f"{each.topic.epoch}-{each.cursor}-{each.tag}" for each in self._positions)

    def _open_frame(self) -> bytes:
        event = Event("{}", event="stream-open", id=self._id(), retry=self._settings.RETRY)
        return encode(event)

    def _reset_frame(self) -> bytes:
        """Return the frame that says which channels go on from their head instead of the client's
        position; empty when none does."""
        stale = [index for index, position in enumerate(self._positions) if position.stale]
        if not stale:
            return b""
        reason = ""
        for index in stale:
            position = self._positions[index]
            reason = reason or position.reset or position.topic.reason
            position.reset = ""
            position.generation = position.topic.generation
            position.cursor, position.tag = self._after_reset(position, reason)
            position.page = []
        data = dumps({"reason": reason, "channels": stale})
        return with_id(self._id(), encode_body("stream-reset", data))

    def _after_reset(self, position: ChannelPosition, reason: str) -> tuple[int, str]:
        """Return the seq and tag from which a client continues after a reset."""
        return position.topic.newest

    # -- the frames

    def _take(self) -> bytes | None:
        if self._opening:
            opening, self._opening = self._opening, b""
            return opening
        for position in self._positions:
            if position.stale:
                if reset := self._reset_frame():
                    return reset
                break
        if len(self._positions) == 1:
            return self._take_single(self._positions[0])
        return self._take_joined()

    def _take_single(self, position: ChannelPosition) -> bytes | None:
        ring = position.topic.ring
        chunk = b""
        while not chunk and not position.ended:
            before = position.cursor
            if position.page:
                chunk, last = join_frames(position.page, self._limit)
                assert last is not None
                position.cursor, position.tag = last.seq, last.tag
                position.page = position.page[position.cursor - before :]
            elif (
                ring.start <= before < ring.tail
                and (taken := ring.slice(before, position.tag, self._limit)) is not None
            ):
                chunk, position.cursor, position.tag = taken
            if position.cursor == before:
                break
        return None if position.ended and not chunk else chunk

    def poll(self) -> bytes | None:
        # The usual case, with as few calls as possible: one channel, and a client that has had all
        # events but the newest.
        if len(self._positions) == 1 and self.state is PARKED and not self._opening:
            position = self._positions[0]
            topic = position.topic
            ring, cursor = topic.ring, position.cursor
            if (
                position.generation == topic.generation
                and not position.page
                and not position.reset
                and ring.start <= cursor < ring.tail
                and (taken := ring.slice(cursor, position.tag, self._limit)) is not None
            ):
                chunk, position.cursor, position.tag = taken
                if chunk:
                    self.at_tail = position.cursor == ring.tail and topic.terminal is None
                    self._silent_beats = 0
                    return chunk
        self.at_tail = False
        return super().poll()

    def _take_joined(self) -> bytes | None:
        """Return the next frames of all channels, each with the composite id after it.

        A channel's terminal event is sent only when all the others have ended: before that it
        would make the client close a stream that goes on. Each write begins with another channel,
        so that a busy channel does not keep the others waiting.
        """
        parts: list[bytes] = []
        moved = True
        # A frame without bytes (a redacted event) moves a cursor and sends nothing.
        while moved and not parts:
            before = [position.cursor for position in self._positions]
            room = self._limit
            self._turn = (self._turn + 1) % len(self._positions)
            for position in self._positions[self._turn :] + self._positions[: self._turn]:
                room = self._take_from(position, parts, room)
            moved = before != [position.cursor for position in self._positions]
        return None if self._ended and not parts else b"".join(parts)

    def _take_from(self, position: ChannelPosition, parts: list[bytes], room: int) -> int:
        """Add one channel's frames to ``parts`` while there is ``room``, and at least one to an
        empty list. Returns the bytes of room that are left."""
        frames = position.page or (
            [] if position.behind else position.topic.ring.frames(position.cursor)
        )
        used = 0
        for frame in frames:
            before = position.cursor, position.tag
            position.cursor, position.tag = frame.seq, frame.tag
            if frame.data and not (frame.terminal and not self._ended):
                data = with_id(self._id(), frame.body)
                if parts and len(data) > room:
                    position.cursor, position.tag = before
                    break
                parts.append(data)
                room -= len(data)
            used += 1
        position.page = position.page[used:]
        return room

    @property
    def _ended(self) -> bool:
        return all(position.ended for position in self._positions)

    def _only_waits(self) -> bool:
        if self._fetching is not None:
            return False
        # A loop, not any(): this is asked at every write.
        for position in self._positions:  # noqa: SIM110
            if position.wants_page:
                return False
        return True

    async def _wait(self) -> None:
        """Wait for an event, or, behind the ring, for a page of the log.

        A task of its own reads the page, so that heartbeats are sent while the database is slow.
        """
        if self._fetching is None and any(position.wants_page for position in self._positions):
            assert self._loop is not None
            self._fetching = self._loop.create_task(self._fetch(), context=Context())
            self._fetching.add_done_callback(lambda _: self.wake())
        # A fetch that ended before this wait has woken nobody.
        if self._fetching is None or not self._fetching.done():
            await super()._wait()
        if self._fetching is not None and self._fetching.done():
            fetched, self._fetching = self._fetching, None
            # close() cancels the fetch, which must not cancel the reader.
            if not fetched.cancelled():
                fetched.result()

    async def _fetch(self) -> None:
        for position in self._positions:
            if position.wants_page:
                await self._fetch_page(position)

    async def _fetch_page(self, position: ChannelPosition) -> None:
        topic, cursor = position.topic, position.cursor
        generation, redactions = topic.generation, topic.redactions
        try:
            page = await topic.pages.after(cursor)
        except Hole:
            await self._check(position, cursor, "trimmed")
            return
        if page.tag is not None and page.tag != position.tag and position.cursor == cursor:
            await self._check(position, cursor, "rewound")
        # A reset in the meantime has moved the cursor.
        elif (generation, redactions, cursor) == (
            topic.generation,
            topic.redactions,
            position.cursor,
        ):
            # Only as much as the next write: a client that stalls must not hold a whole page.
            position.page = leading(page.frames, self._limit)

    async def _check(self, position: ChannelPosition, cursor: int, reason: str) -> None:
        """Reset the client for this ``reason``, unless the whole log was replaced.

        The check comes before the reset, so that the client gets one reset, of the current log.
        """
        await position.topic.check()
        if not position.stale and position.cursor == cursor:
            position.reset = reason

    # -- the end

    def _end(self) -> None:
        for position in self._positions:
            position.topic.waiters.discard(self)
        if self._fetching is not None:
            self._fetching.cancel()
        if self._live is not None:
            self._live.release([position.topic for position in self._positions])
            if self._opened and self._on_close is not None:
                self._call_on_close(self._live, self._on_close)

    def _call_on_close(self, hub: Hub, on_close: Callable[[], object]) -> None:
        if self._hook is None:
            hub.run_later(on_close)
        else:
            # There are several threads, so it could overtake an on_open that is still running.
            self._hook.add_done_callback(lambda _: hub.run_later(on_close))
