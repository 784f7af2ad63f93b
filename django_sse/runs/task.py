"""A run in its own process: from the generator, through the log, to its end."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from django_sse.exceptions import ChannelFinished
from django_sse.hub.registry import get_hub
from django_sse.log.attempts import Rewound
from django_sse.runs import ceilings, store
from django_sse.runs.ahead import Ahead
from django_sse.runs.channel import OwnChannel
from django_sse.runs.entries import Entries
from django_sse.runs.pace import Pace
from django_sse.runs.state import ENDING, OVER, RUNNING
from django_sse.streams.ends import ABORTED, COMPLETE, INTERRUPTED, Ending, failed
from django_sse.streams.first_item import FirstItem
from django_sse.streams.producers import produce

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django_sse.dialects import AnswerEncoder
    from django_sse.hub.topic import Topic
    from django_sse.log.base import Entry
    from django_sse.models import Run
    from django_sse.runs.ceilings import Ceiling
    from django_sse.streams.producers import Producer
    from django_sse.streams.sources import Source

logger = logging.getLogger("django_sse")

# Seconds in which a run that is cancelled with its event loop must append its end.
_END_TIMEOUT = 2.0


class RunTask:
    """The sink of a producer, and a waiter of the run's own channel.

    Only the log decides how a run ends, because the first end wins. Another process may stop the
    run, or end it because this process did not renew its lease. Either arrives as the channel's
    terminal event and ends the generator. ``on_error`` is called in a thread with an exception that
    the generator raised.
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
        self._entries = Ahead()
        self._pace = Pace()
        self._state = RUNNING
        self.ended_elsewhere = False
        """Whether the log has an end that is not this run's own."""
        self._channel = OwnChannel(run)
        self._generation = 0
        self._topic: Topic | None = None
        self._producer: Producer | None = None
        self._writer: asyncio.Task[None] | None = None
        self._generator_closed: asyncio.Future[None] = self._loop.create_future()
        self.first = FirstItem()

    async def start(self, source: Source, on_end: Callable[[RunTask], object]) -> None:
        """Begin to iterate ``source``; ``on_end`` is called when all work is done.

        Raises ``Overloaded`` and ``LogUnavailable``.
        """
        # Before the first event, so that no stop is missed.
        self._topic = await get_hub().topic(self.run.channel, self)
        self._generation = self._topic.generation
        longest = ceilings.seconds()
        self._timer = self._loop.call_later(longest.most, self._time_is_up, longest)
        try:
            self._producer = await produce(self, source)
        except BaseException:
            self._leave(self._topic)
            raise
        self._on_end = on_end
        self._pace.begin()
        self._writer = self._loop.create_task(self._write(), context=Context())
        self.when_over(partial(on_end, self))
        # An end may have come before this waiter was registered or the generator existed.
        self.wake()

    async def ended(self, timeout: float | None = None) -> None:
        """Wait until the run's end is in the log and its generator's ``finally`` has run.

        Waits at most ``timeout`` seconds.
        """
        if self._writer is not None:
            either = {self._generator_closed, self._writer}
            await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    @property
    def has_stopped(self) -> bool:
        """Whether its generator has stopped, in every thread."""
        return self._producer is None or self._producer.has_stopped

    def when_over(self, call: Callable[[], object]) -> None:
        """Call ``call`` on the loop when nothing of the run is left in any thread."""
        assert self._writer is not None
        self._writer.add_done_callback(lambda _: call())

    # -- for the producer

    @property
    def owner(self) -> str:
        """See ``Sink``."""
        return self.run.owner

    @property
    def full(self) -> bool:
        """Whether the generator must pause because it is too far ahead of the log."""
        return self._entries.full

    @property
    def closed(self) -> bool:
        """Whether no more values of the generator are accepted."""
        return self._state is not RUNNING

    def put(self, item: Any) -> None:
        """Accept a value. Raises the errors of its encoding."""
        try:
            with self._lock:
                if self._state is not RUNNING:
                    return
                if (reached := self._entries.reached) is None:
                    self._entries.add(self._said.of(item))
        except Exception as error:
            if self._said.broken:
                logger.warning("The run %s ends: its value cannot be sent: %s", self.run.pk, error)
                self._fail(error)
            raise
        if reached is not None:
            # Do not cancel it, which could interrupt its ``finally``. The producer closes it at its
            # ``yield``.
            self._end_at(reached)
            return
        self._tell_writer()
        if not self.first.decided:
            self.first.came()

    def fail(self, error: BaseException) -> bool:
        """Handle the generator's error; see ``FirstItem.failed``."""
        return self.first.failed(error)

    def report(self, error: BaseException) -> None:
        """Report an error to the project, whether or not the run has clients."""
        self._on_error(error)

    def complete(self, error: BaseException | None = None) -> None:
        """End the run because the generator has ended."""
        if error is None:
            self.first.came()
            self._finish(COMPLETE)
        elif isinstance(error, asyncio.CancelledError):
            # This class does not cancel it that way: the loop is ending.
            self._finish(INTERRUPTED)
        else:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._finish(failed(error))

    def _end_at(self, ceiling: Ceiling) -> None:
        logger.warning("The run %s ends because it has reached %s.", self.run.pk, ceiling)
        self._finish(ceiling.ending)

    def _finish(self, ending: Ending) -> None:
        with self._lock:
            if self._state is not RUNNING:
                return
            self._entries.add(self._said.last(ending))
            self._state = ENDING
        self._tell_writer()

    def _tell_writer(self) -> None:
        if threading.get_ident() == self._thread:
            self._write_soon()
        else:
            # A closed loop cannot write any more.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._write_soon)

    def _write_soon(self) -> None:
        if self._state is ENDING or self.full:
            self._pace.hurry()
        else:
            self._pace.come()

    # -- ends from elsewhere; on the loop

    def wake(self) -> None:
        """Stop if the channel has ended; the topic calls it for each new event."""
        if self._topic is None or self._producer is None:
            # ``start`` looks again when both are there.
            return
        if self._topic.terminal is not None and self._state is RUNNING:
            self._stop()
        elif self._generation != self._topic.generation:
            # The log was replaced. Compare now: the generator may yield nothing for a long time.
            self._pace.hurry()

    def forget_pages(self) -> None:
        """Do nothing when the topic drops its events: a run keeps none."""

    def interrupt(self) -> None:
        """End the run as interrupted, because the process ends, and cancel the generator."""
        self._finish(INTERRUPTED)
        self._cancel()

    def abort(self) -> None:
        """End the run as aborted, because it is no longer wanted, and cancel the generator."""
        self._finish(ABORTED)
        self._cancel()

    def _time_is_up(self, ceiling: Ceiling) -> None:
        if self._state is RUNNING:
            self._end_at(ceiling)
            self._cancel()

    def _stop(self) -> None:
        """Stop because the channel has ended."""
        self.ended_elsewhere = True
        with self._lock:
            self._state = OVER
            self._entries.clear()
        self._pace.hurry()
        self._cancel()

    def _cancel(self) -> None:
        # A caller that waits for the first item finds the end in the log.
        self.first.came()
        if self._producer is not None:
            self._producer.stop()

    # -- into the log

    async def _write(self) -> None:
        assert self._producer is not None
        has_slot = False
        try:
            await self._write_to_the_end()
            has_slot = not self._producer.has_stopped
            await self._channel.close(store.ended if has_slot else store.stopped)
        except asyncio.CancelledError:
            # The loop ends: for example, a server ended it without a signal that reaches Python.
            await self._append_end()
            raise
        except Exception:
            logger.exception("The run %s could not be written: abandoned.", self.run.pk)
            self._stop()
            # Stop renewing its lease now, however long the generator takes to stop.
            self._on_end(self)
        finally:
            if self._topic is not None:
                self._leave(self._topic)
        await self._producer.ended(None)
        self._generator_closed.set_result(None)
        await self._producer.stopped()
        if has_slot:
            await self._channel.note(store.stopped)

    async def _write_to_the_end(self) -> None:
        assert self._producer is not None
        assert self._topic is not None
        while self._state is not OVER:
            await self._pace.due()
            if entries := self._next():
                self._pace.take(len(entries))
                # The next append takes the values that it yields meanwhile.
                self._producer.resume()
                await self._try(self._channel.append(entries))
            elif self._generation != self._topic.generation:
                self._generation = self._topic.generation
                await self._try(self._channel.compare())
            if self._entries:
                self._write_soon()
            if self._state is ENDING and not self._entries:
                self._state = OVER

    def _next(self) -> list[Entry]:
        with self._lock:
            return self._entries.take()

    async def _try(self, work: Awaitable[None]) -> None:
        """Await ``work`` on the channel, and stop if nothing more can be appended there."""
        try:
            await work
        except ChannelFinished:
            # The channel was ended, but the topic does not know yet.
            self._stop()
        except Rewound as error:
            logger.warning("The run %s is interrupted: %s", self.run.pk, error)
            self._stop()

    async def _append_end(self) -> None:
        assert self._producer is not None
        if not self._producer.own_thread:
            # Only the test's thread can use the test's transaction, and it waits for this loop.
            return
        self._finish(INTERRUPTED)
        try:
            async with asyncio.timeout(_END_TIMEOUT):
                # An append that was cancelled may still be committed.
                await self._try(self._channel.settle())
                while entries := self._next():
                    await self._try(self._channel.append(entries))
                await self._channel.close(store.ended)
        except TimeoutError:
            logger.warning("The run %s could not be marked as interrupted in time.", self.run.pk)

    def _leave(self, topic: Topic) -> None:
        self._timer.cancel()
        self._pace.end()
        topic.waiters.discard(self)
        get_hub().release([topic])
