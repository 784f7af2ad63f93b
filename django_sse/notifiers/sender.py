"""Sends wake-ups from a thread of its own, so that who publishes never waits for a transport.

Of each channel only the newest position waits, one message is under way at a time, and under load
a message goes out at most every ``COALESCE`` seconds, which is as often as clients are woken. So
10,000 publishes are a few messages, for a channel layer that drops the 101st in silence as well as
for NOTIFY, whose global lock every commit with one has to pass.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django_sse import conf, constants
from django_sse.notifiers.base import Wakeup
from django_sse.notifiers.outage import Outage
from django_sse.notifiers.payload import encode
from django_sse.process.background import new_event_loop
from django_sse.process.lifecycle import Order, at_exit, before_fork, in_forked_child
from django_sse.process.testcase import in_test_run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    Send = Callable[[str], Awaitable[object]]

_IDLE = 30.0
"""Seconds after which the thread ends and its connection is closed: a site that publishes now and
then does not connect each time, and a process that has stopped publishing holds nothing."""

_TIME_LIMIT = 5.0
"""Seconds that one message may take: then the connection is taken for dead."""

_FLUSH_LIMIT = 2.0
"""Seconds that a process waits at its end, as a management command that has just published does,
and before it forks."""

_MOST_PENDING = 1000
"""Positions that wait. More become one "something changed": what waits is bounded, however long
the transport is away."""

_senders: weakref.WeakSet[Sender] = weakref.WeakSet()


class Sender:
    """One a process and notifier; ``put`` from any thread.

    ``connect`` gives an async context manager around a function that sends one message; both may
    raise whatever the transport raises. ``what`` is for the log: what cannot be done meanwhile.
    """

    def __init__(self, connect: Callable[[], AbstractAsyncContextManager[Send]], what: str) -> None:
        self._connect = connect
        self._outage = Outage(what)
        self._changed = threading.Condition()
        self._pending: dict[tuple[str, str], int] = {}
        self._too_many = False
        self._under_way = False
        self._running = False
        self._wanted: Callable[[], object] | None = None
        _senders.add(self)

    def put(self, wakeups: Sequence[Wakeup]) -> None:
        """Send ``wakeups`` soon. Never waits for the transport, and raises nothing for it."""
        if not wakeups:
            return
        with self._changed:
            for channel, epoch, seq in wakeups:
                self._add(channel, epoch, seq)
            if not self._running:
                self._start()
            elif self._wanted is not None:
                wanted, self._wanted = self._wanted, None
                wanted()

    def _add(self, channel: str, epoch: str, seq: int) -> None:
        if self._too_many:
            return
        key = channel, epoch
        self._pending[key] = max(seq, self._pending.get(key, 0))
        if len(self._pending) > _MOST_PENDING:
            self._too_many = True
            self._pending.clear()

    def flush(self, timeout: float) -> bool:
        """Wait until everything is sent. False after ``timeout`` seconds, and at once while the
        transport is away or there is no thread to send with."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._running and (self._waiting() or self._under_way):
                if self._outage.away or not self._changed.wait(deadline - time.monotonic()):
                    return False
            return not self._waiting()

    def _waiting(self) -> bool:
        return self._too_many or bool(self._pending)

    # -- the thread

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="django_sse-sender", daemon=True)
        _flush_when_celery_ends()
        # A process that is ending starts no thread: what it says then is found by the safety poll.
        with suppress(RuntimeError):
            thread.start()
            self._running = True

    def _run(self) -> None:
        try:
            loop = _make_loop()
        except Exception as error:
            # As where no file can be opened any more. What waits goes with the next that is put.
            self._outage.failed(error)
            with self._changed:
                self._running = False
                self._changed.notify_all()
            return
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._work())

    async def _work(self) -> None:
        while not self._ended():
            try:
                async with self._connect() as send:
                    await self._send_until_idle(send)
            except (Exception, asyncio.CancelledError) as error:
                # Whatever a transport raises: a thread that died of it would leave others deaf.
                # Nobody cancels this task.
                pause = self._outage.failed(error)
                with self._changed:
                    self._changed.notify_all()
                await asyncio.sleep(pause)

    def _ended(self) -> bool:
        with self._changed:
            if not self._waiting():
                self._running = False
                self._changed.notify_all()
            return not self._running

    async def _send_until_idle(self, send: Send) -> None:
        while await self._something_waits():
            messages, taken = self._take()
            try:
                for message in messages:
                    async with asyncio.timeout(_TIME_LIMIT):
                        await send(message)
            except BaseException:
                self._put_back(taken)
                raise
            self._sent()
            await asyncio.sleep(constants.COALESCE)

    async def _something_waits(self) -> bool:
        """True as soon as something waits; False after a while without."""
        loop = asyncio.get_running_loop()
        news = asyncio.Event()
        with self._changed:
            if self._waiting():
                return True
            self._wanted = lambda: loop.call_soon_threadsafe(news.set)
        # A test's database cannot be dropped while a connection to it is open.
        idle = 0.0 if in_test_run() else _IDLE
        with suppress(TimeoutError):
            async with asyncio.timeout(idle):
                await news.wait()
        with self._changed:
            self._wanted = None
            return self._waiting()

    def _take(self) -> tuple[list[str], dict[tuple[str, str], int] | None]:
        with self._changed:
            taken = None if self._too_many else self._pending
            self._pending, self._too_many, self._under_way = {}, False, True
        wakeups = None if taken is None else [Wakeup(*key, seq) for key, seq in taken.items()]
        return encode(wakeups, conf.current().ENVIRONMENT), taken

    def _put_back(self, taken: dict[tuple[str, str], int] | None) -> None:
        with self._changed:
            self._under_way = False
            if taken is None:
                self._too_many = True
                self._pending.clear()
            for (channel, epoch), seq in (taken or {}).items():
                self._add(channel, epoch, seq)

    def _sent(self) -> None:
        self._outage.over()
        with self._changed:
            self._under_way = False
            self._changed.notify_all()


class _AtOnce(ThreadPoolExecutor):
    """Runs what it is given on the spot.

    A loop looks up host names in its executor, and from the moment the interpreter begins to exit
    no other takes work any more: that is when a command's last wake-up is sent. This loop has
    nothing else to do meanwhile; but what runs inside it no time limit of its own can interrupt, so
    a look-up takes as long as the system's resolver lets it.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _make_loop() -> asyncio.AbstractEventLoop:
    loop = new_event_loop()
    loop.set_default_executor(_AtOnce())
    return loop


# Before a fork: a transport imports more when it connects, and a child forked at that moment would
# have half a module, behind a lock that none of its threads holds.
@before_fork(Order.SENDERS)
@at_exit(Order.SENDERS)
def _flush_all(**_signal: object) -> None:
    for sender in list(_senders):
        sender.flush(_FLUSH_LIMIT)


def _flush_when_celery_ends() -> None:
    """Flush at the end of a child of Celery's pool as well.

    Such a child runs no exit hooks: it tells its parent that it ends, and the parent kills it.
    """
    if "celery" in sys.modules:
        # Connecting the same function twice does nothing.
        import_module("celery.signals").worker_process_shutdown.connect(_flush_all)


@in_forked_child(Order.SENDERS)
def _forget_after_fork() -> None:
    # The child has the parent's senders, and none of their threads.
    _senders.clear()
