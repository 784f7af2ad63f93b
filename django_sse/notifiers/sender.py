"""A thread that sends wake-ups, so that a publisher never waits for a transport.

The queue holds only the newest position of each channel, and one message is sent at a time. Under
load a message is sent at most every ``COALESCE`` seconds, which is as often as clients are woken.
So 10,000 publishes become a few messages. A channel layer silently drops the 101st message, and
NOTIFY takes a global lock at each commit.
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
from django_sse.process import threads
from django_sse.process.lifecycle import Order, at_exit, before_fork, in_forked_child
from django_sse.process.testcase import in_test_run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    Send = Callable[[str], Awaitable[object]]

_IDLE = 30.0
"""Seconds without a publish after which the thread ends and closes its connection. A site that
publishes now and then need not reconnect each time; a process that stopped publishing holds no
connection."""

_TIME_LIMIT = 5.0
"""Seconds that sending one message may take; after that the connection is considered dead."""

_FLUSH_LIMIT = 2.0
"""Seconds that a process waits for its wake-ups before it exits or forks. A management command,
for example, may have published just before its end."""

_MOST_PENDING = 1000
"""Positions that may be queued. If there are more, they become one "something changed", so the
queue stays bounded however long the transport is unavailable."""

_senders: weakref.WeakSet[Sender] = weakref.WeakSet()


class Sender:
    """The sender of one notifier's wake-ups in one process; any thread may call ``put``.

    ``connect`` returns an async context manager around a function that sends one message. Both may
    raise the transport's errors. ``what`` begins the log message about an outage.
    """

    def __init__(self, connect: Callable[[], AbstractAsyncContextManager[Send]], what: str) -> None:
        self._connect = connect
        self._outage = Outage(what)
        self._changed = threading.Condition()
        self._pending: dict[tuple[str, str], tuple[int, str]] = {}
        self._too_many = False
        self._under_way = False
        self._running = False
        self._wanted: Callable[[], object] | None = None
        _senders.add(self)

    def put(self, wakeups: Sequence[Wakeup]) -> None:
        """Send ``wakeups`` soon, without waiting for the transport or raising its errors."""
        if not wakeups:
            return
        with self._changed:
            for wakeup in wakeups:
                self._add(*wakeup)
            if not self._running:
                self._start()
            elif self._wanted is not None:
                wanted, self._wanted = self._wanted, None
                wanted()

    def _add(self, channel: str, epoch: str, seq: int, tag: str) -> None:
        if self._too_many:
            return
        key = channel, epoch
        if key not in self._pending or seq >= self._pending[key][0]:
            self._pending[key] = seq, tag
        if len(self._pending) > _MOST_PENDING:
            self._too_many = True
            self._pending.clear()

    def flush(self, timeout: float) -> bool:
        """Wait until everything is sent, and return whether it was.

        Returns False after ``timeout`` seconds, and immediately if the transport is unavailable or
        there is no thread to send with.
        """
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
        _flush_when_celery_ends()
        # A process that is exiting cannot start a thread. The safety poll finds its events.
        with suppress(RuntimeError):
            threads.start(self._run, name="django_sse-sender")
            self._running = True

    def _run(self) -> None:
        try:
            loop = _make_loop()
        except Exception as error:
            # For example, no more files can be opened. The next put() sends the queue as well.
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
                # Any error of a transport: if it ended this thread, other processes would get no
                # more wake-ups. A transport may also raise CancelledError; nothing cancels this
                # task.
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
        """Wait until the queue is not empty; return False if it stays empty for a while."""
        loop = asyncio.get_running_loop()
        news = asyncio.Event()
        with self._changed:
            if self._waiting():
                return True
            self._wanted = lambda: loop.call_soon_threadsafe(news.set)
        # Do not stay connected in tests: a test database with an open connection cannot be dropped.
        idle = 0.0 if in_test_run() else _IDLE
        with suppress(TimeoutError):
            async with asyncio.timeout(idle):
                await news.wait()
        with self._changed:
            self._wanted = None
            return self._waiting()

    def _take(self) -> tuple[list[str], dict[tuple[str, str], tuple[int, str]] | None]:
        with self._changed:
            taken = None if self._too_many else self._pending
            self._pending, self._too_many, self._under_way = {}, False, True
        wakeups = (
            None if taken is None else [Wakeup(*key, *position) for key, position in taken.items()]
        )
        return encode(wakeups, conf.current().ENVIRONMENT), taken

    def _put_back(self, taken: dict[tuple[str, str], tuple[int, str]] | None) -> None:
        with self._changed:
            self._under_way = False
            # Add the newer wake-ups to those that were taken: of two tags the newer counts.
            newer, self._pending = self._pending, taken or {}
            if taken is None or self._too_many:
                self._too_many = True
                self._pending.clear()
            for key, position in newer.items():
                self._add(*key, *position)

    def _sent(self) -> None:
        self._outage.over()
        with self._changed:
            self._under_way = False
            self._changed.notify_all()


class _AtOnce(ThreadPoolExecutor):
    """An executor that runs each call in the caller's thread.

    An event loop resolves host names in its executor, but an ordinary executor accepts no more work
    once the interpreter begins to exit, which is when a command's last wake-up is sent. Blocking
    this loop does no harm, since it does nothing else. But its time limits cannot interrupt a call,
    so resolving a name may take as long as the system's resolver allows.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _make_loop() -> asyncio.AbstractEventLoop:
    loop = threads.new_event_loop()
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
