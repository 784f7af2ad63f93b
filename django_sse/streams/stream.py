"""An open response body: what all streams have in common, whatever they carry.

A stream is an asynchronous iterator *object*, not a generator: Django closes a response from a
worker thread and does not call ``aclose``. So ``close`` here is idempotent, may be called from any
thread, and always ends what is behind the stream. ``django_sse.streams.state`` has the states.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from django_sse import conf
from django_sse.exceptions import Overloaded, TooManyStreams
from django_sse.process.request_thread import release_request_thread
from django_sse.streams.driver import ITERATES
from django_sse.streams.ends import INTERRUPTED, UNAVAILABLE, retry_frame
from django_sse.streams.pulse import get_pulse
from django_sse.streams.state import (
    CLOSE,
    DRAIN,
    DRAINING,
    ENDED,
    LAST,
    LINGERING,
    NEW,
    OPEN,
    PARK,
    PARKED,
    READ,
    Move,
    State,
    after,
)
from django_sse.wire.encoder import HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, Self

    from django_sse.streams.driver import Driver
    from django_sse.streams.ends import Ending
    from django_sse.streams.pulse import Pulse
    from django_sse.trust.slots import Slot

logger = logging.getLogger("django_sse")

# Seconds that a client has to take what is being written to it when the server stops.
_DRAIN_TIMEOUT = 0.5
# Beats of the pulse without a byte sent after which a heartbeat is due: one HEARTBEAT or more.
_SILENT_BEATS = 2


class Stream(ABC):
    """An iterator of ``bytes``: whole frames, or a heartbeat between two frames."""

    def __init__(self) -> None:
        self.state = NEW
        self.driver: Driver = ITERATES
        self.last_event_id: str | None = None
        """The position that the client brings, for a stream that can begin at one."""
        self.at_tail = False
        """Whether the last ``poll`` gave all there was, so that another would give nothing."""
        self.sending_since: float | None = None
        """The loop's time when a chunk was read that is still being sent."""
        self.slot: Slot | None = None
        """The slot by which the stream counts against ``LIMITS``; None if no client reads it."""
        self._settings = conf.current().STREAMS
        self._drained_as = INTERRUPTED
        self._pulse: Pulse | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._silent_beats = 0

    # -- for the subclass

    async def open(self) -> bool:
        """Find out what the response depends on, before its headers are sent.

        Returns False when nothing can come any more: the answer is 204.
        """
        return True

    def open_in_thread(self) -> bool:
        """``open`` for a sync view."""
        return True

    @abstractmethod
    async def _start(self) -> None:
        """Begin; called once, before the first ``_take``."""

    @abstractmethod
    def _take(self) -> bytes | None:
        """Return what can be sent now: empty when nothing can, None at the end."""

    def _only_waits(self) -> bool:
        """Whether a stream with nothing to take needs only to be woken."""
        return True

    async def _wait(self) -> None:
        """Wait until ``_take`` may have something."""
        assert self._loop is not None
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _while_open(self, work: Coroutine[Any, Any, None]) -> None:
        """Await ``work``, but not after the stream's end, which must not wait for anything."""
        assert self._loop is not None
        task = self._loop.create_task(work)
        task.add_done_callback(lambda _: self.wake())
        try:
            while self.state is OPEN and not task.done():
                await Stream._wait(self)
            if task.done():
                task.result()
        finally:
            task.cancel()

    @abstractmethod
    def _end(self) -> None:
        """Release what is behind the stream; on the loop.

        Called once, or, when the stream was closed during its start, once more after that.
        """

    def _last_frame(self) -> bytes:
        """Return the last frame before the server stops; may be empty."""
        return retry_frame()

    async def _linger(self) -> None:  # noqa: B027 - nothing to wait for is usual
        """Keep the server waiting, after the last frame, until what is behind the stream ends."""

    # -- on the loop: the pulse, and what makes frames

    @property
    def closed(self) -> bool:
        """Whether nobody will read any more."""
        return self.state in ENDED

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that the stream lives on, once it has begun."""
        return self._loop

    def attach(self) -> None:
        """Bind the stream to the running loop, whose pulse beats and drains it from now on."""
        if self._pulse is None:
            self._loop = asyncio.get_running_loop()
            self._pulse = get_pulse()
            self._pulse.register(self)

    def wake(self) -> None:
        """Say that there is something to take."""
        self._tell(self.state)

    def _tell(self, state: State) -> None:
        """Tell whoever waits for the stream, which was in ``state`` until now."""
        if state is PARKED:
            self.driver.ready()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def beat(self) -> None:
        """Called twice in a HEARTBEAT: a stream that was silent all that time sends a comment."""
        if self.sending_since is not None:
            self.driver.drop_if_stuck(self, self._settings.SEND_TIMEOUT)
            return
        self._silent_beats += 1
        waits = self.state is PARKED or self._waiter is not None
        if waits and self._silent_beats >= _SILENT_BEATS:
            self.wake()

    def _heartbeat(self) -> bytes:
        if self._silent_beats < _SILENT_BEATS:
            return b""
        self._silent_beats = 0
        return HEARTBEAT

    def send_heartbeat(self) -> None:
        """Have a comment sent now, to find out whether the client takes it."""
        if self.state is PARKED or self._waiter is not None:
            self._silent_beats = _SILENT_BEATS
            self.wake()

    def drop_unless_taking(self, seconds: float) -> None:
        """Drop a client that has taken nothing of what it was sent for ``seconds``."""
        self.driver.drop_unless_taking(self, seconds)

    def drain(self, ending: Ending = INTERRUPTED) -> None:
        """End the stream because the server stops or is overloaded; its client will reconnect.

        A client that will not, a vendor's, is told ``ending``.
        """
        self._drained_as = ending
        self._tell(self._move(DRAIN))
        if self._loop is not None:
            # The server would wait for a client that reads nothing, and some servers for ever.
            self._loop.call_later(_DRAIN_TIMEOUT, self._drop_if_sending)

    def _drop_if_sending(self) -> None:
        if self.driver.drops:
            self.driver.drop_if_stuck(self, 0)

    @property
    def send_timeout(self) -> float:
        """Seconds that one write may take."""
        ends = self.state in (DRAINING, LINGERING)
        return _DRAIN_TIMEOUT if ends else self._settings.SEND_TIMEOUT

    # -- the end

    def close(self) -> None:
        """End the stream: from any thread, any number of times."""
        loop = self._loop
        if loop is None or loop.is_closed() or _running_loop() is loop:
            self._close()
        else:
            loop.call_soon_threadsafe(self._close)

    async def aclose(self) -> None:
        """``close`` for ``contextlib.aclosing``."""
        self.close()

    def _close(self) -> None:
        self._let_go(CLOSE)

    def _let_go(self, move: Move) -> None:
        """Make the last ``move`` but one, or the last, and end what is behind the stream once."""
        was = self._move(move)
        if was in ENDED:
            return
        if self._pulse is not None:
            self._pulse.discard(self)
        try:
            self._end()
        finally:
            if self.slot is not None:
                self._when_stopped(self.slot.give_back)
        self._tell(was)

    def _when_stopped(self, call: Callable[[], object]) -> None:
        """Call ``call`` when nothing of the ended stream runs any more."""
        call()

    def _move(self, move: Move) -> State:
        """Make ``move``; return the state before it."""
        was, self.state = self.state, after(self.state, move)
        return was

    # -- the body, for the driver

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self.sending_since = None
        try:
            chunk = await self._next()
        except StopAsyncIteration:
            if self.state is not LINGERING:
                self._close()
            raise
        except BaseException:
            # The client left (CancelledError), or something broke: nobody reads on.
            self._close()
            raise
        if chunk and self._loop is not None:
            self.sending_since = self._loop.time()
        return chunk

    async def _next(self) -> bytes:
        if self.state is not OPEN and self._move(READ) is NEW:
            await self._begin()
        waited = False
        while self.state is OPEN:
            chunk = self._take()
            if chunk is None:
                break
            if chunk:
                self._silent_beats = 0
                if not waited:
                    # A source that is always ready and a server that never blocks would keep
                    # the loop to themselves, and outlive their client.
                    await asyncio.sleep(0)
                return chunk
            if heartbeat := self._heartbeat():
                return heartbeat
            if self.driver.pushes and self._only_waits():
                self._move(PARK)
                return b""
            waited = True
            await self._wait()
        return await self._next_last()

    async def _next_last(self) -> bytes:
        """Return the last frame of a draining stream; end any other."""
        if self.state is DRAINING:
            self._let_go(LAST)
            if last := self._last_frame():
                return last
        if self.state is LINGERING:
            await self._linger()
        raise StopAsyncIteration

    async def _begin(self) -> None:
        await release_request_thread()
        if self.closed:
            return
        try:
            if self.slot is not None:
                await self.slot.take()
            await self._start()
        except (Overloaded, TooManyStreams) as error:
            # The headers are out, so this is all that its client can be told.
            logger.warning("A stream is sent away: %s", error)
            self.drain(UNAVAILABLE)
        finally:
            if self.closed:
                # Closed during the start: what the start has taken since then goes, too.
                self._end()

    # -- for a driver that pushes

    def resume(self) -> None:
        """Take a parked stream up again: ``__anext__`` will be called, and ``ready`` is not."""
        if self.state is PARKED:
            self._move(READ)

    def poll(self) -> bytes | None:
        """Return what a parked stream can send at once: empty when it goes on waiting.

        None when only ``__anext__`` can tell: at the end, or behind the log.
        """
        if self.state is not PARKED:
            return None
        chunk = self._take()
        if chunk:
            self._silent_beats = 0
            return chunk
        if chunk is None:
            return None
        return self._heartbeat() or (b"" if self._only_waits() else None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
