"""The slots for streams in this process."""

from __future__ import annotations

import asyncio
import math
import threading
import time
import weakref
from concurrent.futures import wait
from typing import TYPE_CHECKING, Protocol

from django_sse.exceptions import Overloaded, TooManyStreams
from django_sse.process.lifecycle import Order, in_forked_child
from django_sse.trust import limits

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

# Seconds in which a living client takes a heartbeat.
_TAKES = 2.0
# More seconds, because the kernel's clock ticks as rarely as every 10 ms.
_TICKS = 0.05
# Seconds that a request waits for that, at most: a loop may be busy.
_PATIENCE = 5.0

# Seconds after which an owner's clients are asked again. In between, its requests are refused at
# once: each one that waits has a descriptor.
_ASKED_FOR = 10.0

# Reentrant: the garbage collector may close a stream anywhere, also in the middle of a ``take``.
_lock = threading.RLock()
_all: set[Slot] = set()
_of_owner: dict[str, set[Slot]] = {}
# When the clients of an owner who has no slot left were asked last.
_asked_at: dict[str, float] = {}


class Stream(Protocol):
    """An open stream, as its slot sees it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None: ...

    def send_heartbeat(self) -> None: ...

    def drop_unless_taking(self, seconds: float) -> None: ...


class Slot:
    """The slot of one stream: ``STREAMS_PER_PROCESS`` limits them, and for one owner
    ``STREAMS_PER_OWNER``. It is taken once and given back once."""

    def __init__(self, owner: str | None) -> None:
        self.owner = owner
        self._stream: weakref.ref[Stream] | None = None
        self._used = False

    def assign(self, stream: Stream) -> None:
        """Say which stream has the slot."""
        # Weak: what forgets to close a stream must not keep it in memory as well.
        self._stream = weakref.ref(stream)

    @property
    def stream(self) -> Stream | None:
        """The stream that has the slot."""
        return self._stream() if self._stream is not None else None

    async def take(self) -> None:
        """Take the slot, unless it was taken before.

        Before an owner is refused, its ghosts are dropped. Raises ``TooManyStreams`` and
        ``Overloaded``.
        """
        try:
            self._take()
        except TooManyStreams as refused:
            await self.drop_ghosts(refused)
            self._take()

    def take_in_thread(self) -> None:
        """``take`` for a thread."""
        try:
            self._take()
        except TooManyStreams as refused:
            self.drop_ghosts_in_thread(refused)
            self._take()

    async def drop_ghosts(self, refused: TooManyStreams) -> None:
        """Have all streams of the owner send a heartbeat, and drop the clients that do not take it:
        those that a phone left behind when it changed its network.

        Raises ``refused`` if that was done a moment ago.
        """
        if answers := self._ask(refused):
            told = [asyncio.wrap_future(answer) for answer in answers]
            await asyncio.wait(told, timeout=_PATIENCE)

    def drop_ghosts_in_thread(self, refused: TooManyStreams) -> None:
        """``drop_ghosts`` for a thread."""
        wait(self._ask(refused), _PATIENCE)

    def _take(self) -> None:
        with _lock:
            if self._used:
                return
            self._check()
            self._used = True
            _all.add(self)
            if self.owner is not None:
                slots = _of_owner.get(self.owner, set())
                slots.add(self)
                # Also for a set that was there: since ``get`` the collector may have closed the
                # last of the owner's other streams, which removes the set.
                _of_owner[self.owner] = slots

    def _check(self) -> None:
        most = limits.streams_per_process()
        if self.owner is not None:
            own = limits.streams_per_owner()
            if len(_of_owner.get(self.owner, ())) >= own:
                raise TooManyStreams(
                    f"This owner has {own} open streams in this process, as many as "
                    "STREAMS_PER_OWNER allows."
                )
        if len(_all) >= most:
            raise Overloaded(
                f"This process has {most} open streams, as many as STREAMS_PER_PROCESS allows. "
                "Start more processes, or raise it together with the limit of open files "
                "(LimitNOFILE, ulimit -n), under WSGI with the server's threads."
            )

    def give_back(self) -> None:
        """Give the slot back, or never take it; from any thread, any number of times."""
        with _lock:
            self._used = True
            _all.discard(self)
            if self.owner is not None and (slots := _of_owner.get(self.owner)) is not None:
                slots.discard(self)
                if not slots:
                    del _of_owner[self.owner]
                    _asked_at.pop(self.owner, None)

    def _ask(self, refused: TooManyStreams) -> list[Future[None]]:
        assert self.owner is not None
        with _lock:
            now = time.monotonic()
            if now - _asked_at.get(self.owner, -math.inf) < _ASKED_FOR:
                raise refused
            streams = [slot.stream for slot in _of_owner.get(self.owner, ())]
            if streams:
                # Removed with the last of them.
                _asked_at[self.owner] = now
        return _ask_all(stream for stream in streams if stream is not None)


def _ask_all(streams: Iterable[Stream]) -> list[Future[None]]:
    by_loop: dict[asyncio.AbstractEventLoop, list[Stream]] = {}
    for stream in streams:
        # One without a loop has not begun yet, and its client has just come.
        if stream.loop is not None and stream.loop.is_running():
            by_loop.setdefault(stream.loop, []).append(stream)
    return [
        asyncio.run_coroutine_threadsafe(_drop_ghosts(found), loop)
        for loop, found in by_loop.items()
    ]


async def _drop_ghosts(streams: list[Stream]) -> None:
    for stream in streams:
        stream.send_heartbeat()
    await asyncio.sleep(_TAKES + _TICKS)
    for stream in streams:
        stream.drop_unless_taking(_TAKES)
    # The dropped streams give back a thread, for example, a moment later.
    await asyncio.sleep(_TICKS)


@in_forked_child(Order.STREAM_SLOTS)
def _forget_after_fork() -> None:
    # The streams belong to the parent, one of whose threads may have held the lock.
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()
    _all.clear()
    _of_owner.clear()
    _asked_at.clear()
