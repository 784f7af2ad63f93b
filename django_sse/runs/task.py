"""One run in the process that has it: from its generator, through the log, to its end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any

from django_sse import group_commit
from django_sse.exceptions import ChannelFinished, LogUnavailable
from django_sse.hub.registry import get_hub
from django_sse.log import get_log
from django_sse.process import database
from django_sse.process.testcase import in_users_test
from django_sse.publishing import append
from django_sse.runs import store
from django_sse.runs.entries import Entries
from django_sse.runs.pace import Pace
from django_sse.streams.ends import ABORTED, COMPLETE, INTERRUPTED, Ending, failed
from django_sse.streams.first_item import FirstItem
from django_sse.streams.producers import produce

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_sse.dialects import AnswerEncoder
    from django_sse.hub.topic import Topic
    from django_sse.log.base import Entry
    from django_sse.models import Run
    from django_sse.streams.producers import Producer, Source

logger = logging.getLogger("django_sse")

# Events that the generator may be ahead of the log, and that go into it together.
_AHEAD = 100
# Seconds until a log that was away is asked again.
_RETRY = 0.5
# Seconds that the end of a run may take which is cancelled with its event loop.
_LAST_WORDS = 2.0


class RunTask:
    """A producer's sink, and a waiter of its own channel.

    Only the log says how a run ends, since the first end wins: a stop from another process, or the
    word of one that believed this one dead, arrives as the channel's terminal event and ends the
    generator. ``on_error`` is called with what the generator raised, in a thread.
    """

    wants_turn = False

    def __init__(
        self, run: Run, encoder: AnswerEncoder, *, on_error: Callable[[BaseException], None]
    ) -> None:
        self.run = run
        self._said = Entries(run, encoder)
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque()
        self._pace = Pace()
        self._complete = False
        self._over = False
        self._cancelled = False
        self._seq = 0
        self._under_way: list[Entry] = []
        self._in_users_test = False
        self._topic: Topic | None = None
        self._producer: Producer | None = None
        self._writer: asyncio.Task[None] | None = None
        self.first = FirstItem()

    async def start(self, source: Source, on_end: Callable[[RunTask], object]) -> None:
        """Begin to iterate ``source``; ``on_end`` is called when nothing is left to be done.

        Raises ``Overloaded`` and ``LogUnavailable``.
        """
        # Before the first event: a stop must be heard from the beginning.
        self._topic = await get_hub().topic(self.run.channel, self)
        try:
            self._producer = await produce(self, source)
        except BaseException:
            self._leave(self._topic)
            raise
        self._on_end = on_end
        self._in_users_test = await in_users_test()
        self._pace.begin()
        self._writer = self._loop.create_task(self._write(), context=Context())
        self._writer.add_done_callback(lambda _: on_end(self))
        # Of an end that came before anybody listened, or before there was a generator.
        self.wake()

    async def ended(self, timeout: float | None = None) -> None:
        """Wait until the run's end is in the log and its generator's ``finally`` has run;
        ``timeout`` seconds at most."""
        if self._writer is not None:
            await asyncio.wait({self._writer}, timeout=timeout)

    # -- for the producer

    @property
    def full(self) -> bool:
        """Whether the generator is as far ahead of the log as it may be."""
        return len(self._entries) >= _AHEAD

    @property
    def closed(self) -> bool:
        """Whether nothing more is wanted of the generator."""
        return self._over or self._complete

    def put(self, item: Any) -> None:
        """A value. Raises what its encoding does."""
        try:
            with self._lock:
                # Nothing may follow the last word, not even from a generator that goes on after it.
                if self.closed:
                    return
                self._entries.extend(self._said.of(item))
        except Exception as error:
            if self._said.broken:
                logger.warning("The run %s ends with what it could not say: %s", self.run.pk, error)
                self._fail(error)
            raise
        self._tell_writer()
        if not self.first.decided:
            self.first.came()

    def fail(self, error: BaseException) -> bool:
        """The generator failed; see ``FirstItem.failed``."""
        return self.first.failed(error)

    def report(self, error: BaseException) -> None:
        """Tell the project of an error, whether or not somebody watches the run."""
        self._on_error(error)

    def complete(self, error: BaseException | None = None) -> None:
        """The generator has ended."""
        if error is None:
            self.first.came()
            self._finish(COMPLETE)
        elif isinstance(error, asyncio.CancelledError):
            # Not by us: with the loop.
            self._finish(INTERRUPTED)
        else:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._finish(failed(error))

    def _finish(self, ending: Ending) -> None:
        with self._lock:
            if self.closed:
                return
            self._entries.extend(self._said.last(ending))
            self._complete = True
        self._tell_writer()

    def _tell_writer(self) -> None:
        if threading.get_ident() == self._thread:
            self._write_soon()
        else:
            # A loop that was closed has written its last.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._write_soon)

    def _write_soon(self) -> None:
        if self._complete or self.full:
            self._pace.hurry()
        else:
            self._pace.come()

    # -- ends from elsewhere; on the loop

    def wake(self) -> None:
        """Called by the topic: there is something new in the channel."""
        if self._topic is not None and self._topic.terminal is not None and not self._complete:
            self._stop()

    def forget_pages(self) -> None:
        """Called by the topic; nothing is kept."""

    def interrupt(self) -> None:
        """The process ends: say so, and cancel the generator."""
        self._finish(INTERRUPTED)
        self._cancel()

    def abort(self) -> None:
        """Nobody wants the run any more."""
        self._finish(ABORTED)
        self._cancel()

    def _stop(self) -> None:
        """The channel has its end."""
        self._over = True
        self._entries.clear()
        self._pace.hurry()
        self._cancel()

    def _cancel(self) -> None:
        # Whoever waits for the first item finds the end in the log.
        self.first.came()
        # Once: a second time would break off what the generator does in its `finally`.
        if self._producer is not None and not self._cancelled:
            self._cancelled = True
            self._producer.stop()

    # -- into the log

    async def _write(self) -> None:
        assert self._producer is not None
        try:
            await self._write_to_the_end()
            await self._note_end()
        except asyncio.CancelledError:
            # With the loop, as where a server ends it without a signal that could be heard.
            await self._last_words()
            raise
        except Exception:
            logger.exception("The run %s could not be written and is given up.", self.run.pk)
            self._stop()
            # Its lease must run out, however long its generator takes to notice.
            self._on_end(self)
        finally:
            if self._topic is not None:
                self._leave(self._topic)
        await self._producer.ended(None)

    async def _note_end(self) -> None:
        try:
            await database.write(store.ended, [self.run.pk])
        except LogUnavailable as error:
            # It is noted when its lease has run out.
            logger.warning("The end of the run %s is not noted yet: %s", self.run.pk, error)

    async def _write_to_the_end(self) -> None:
        while not self._over:
            await self._pace.due()
            if entries := self._next():
                self._pace.take(len(entries))
                assert self._producer is not None
                # What it makes meanwhile goes in with the next.
                self._producer.resume()
                await self._append(entries)
            if self._entries:
                self._write_soon()
            if self._complete and not self._entries:
                self._over = True

    def _next(self) -> list[Entry]:
        with self._lock:
            return [self._entries.popleft() for _ in range(min(_AHEAD, len(self._entries)))]

    async def _append(self, entries: list[Entry]) -> None:
        """``entries`` into the log, each once, however long the log is away."""
        self._under_way = entries
        while True:
            try:
                await append(entries)
            except ChannelFinished:
                # A stop that the topic has not heard of yet.
                self._under_way = []
                self._stop()
                return
            except LogUnavailable as error:
                logger.warning("The run %s waits for the log: %s", self.run.pk, error)
                await asyncio.sleep(_RETRY)
                if await self._has(self._seq + len(entries)):
                    break
            else:
                break
        self._seq += len(entries)
        self._under_way = []

    async def _has(self, seq: int) -> bool:
        """Whether the log has it: what was not answered may be committed all the same, and nobody
        else writes into this channel but its end."""
        while True:
            try:
                heads = await database.run(get_log().heads, [self.run.channel])
            except LogUnavailable:
                await asyncio.sleep(_RETRY)
            else:
                head = heads.get(self.run.channel)
                return head is not None and head.head >= seq

    async def _last_words(self) -> None:
        if self._in_users_test:
            # The thread that alone sees the test's transaction waits for this loop to end.
            return
        self._finish(INTERRUPTED)
        try:
            async with asyncio.timeout(_LAST_WORDS):
                await self._settle_what_was_cut()
                while entries := self._next():
                    await self._append(entries)
        except TimeoutError:
            logger.warning("The run %s could not say that it is interrupted.", self.run.pk)

    async def _settle_what_was_cut(self) -> None:
        """Of an append that was cancelled nobody knows whether it was made."""
        cut = self._under_way
        if not cut:
            return
        await group_commit.settled()
        if await self._has(self._seq + len(cut)):
            self._seq += len(cut)
        else:
            with self._lock:
                self._entries.extendleft(reversed(cut))

    def _leave(self, topic: Topic) -> None:
        self._pace.end()
        topic.waiters.discard(self)
        get_hub().release([topic])
