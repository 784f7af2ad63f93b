"""Producers run generators: an async one in a task, a sync one in a thread.

A generator stays there from its first step to its last. A time-out or task group that it has open
belongs to its own task and not to the server's, and a cursor that it has open to its own thread's
connection.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from asgiref.sync import ThreadSensitiveContext, sync_to_async

from django_sse.exceptions import EventStreamError
from django_sse.process import stopping
from django_sse.process.database import DatabaseExecutor
from django_sse.process.testcase import in_users_test
from django_sse.streams.sink import UNREPORTED
from django_sse.streams.sources import END, GENERATOR, aclose, cancelled_inside, close, throw
from django_sse.streams.thread_producer import ThreadProducer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from django_sse.streams.sink import Sink
    from django_sse.streams.sources import Source

logger = logging.getLogger("django_sse")

# Seconds after which a generator yields to the rest of the loop, whether or not it awaits.
_TURN = 0.002


class TaskProducer:
    """A producer that iterates an async iterable in a task of its own on the running loop.

    The task sees the request's context variables (the active language, say) but not the request's
    thread. With ``own_thread`` its sync calls run in a thread of its own, which closes its database
    connection when idle.
    """

    def __init__(self, sink: Sink, source: AsyncIterable[Any], *, own_thread: bool) -> None:
        self._sink = sink
        self._source = source
        self.own_thread = own_thread
        self._executor = DatabaseExecutor(name=GENERATOR, iterates=True) if own_thread else None
        self._room: asyncio.Future[None] | None = None
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(
            self._run(), name=GENERATOR, context=contextvars.copy_context()
        )

    def resume(self) -> None:
        """Go on: the sink has room again."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def stop(self) -> None:
        """Cancel the generator: it gets CancelledError where it waits, or GeneratorExit at its
        ``yield``, and its ``finally`` runs. Another call does nothing."""
        # A second cancellation would interrupt the `finally`.
        if not self._stopped:
            self._stopped = True
            self._task.cancel()

    @property
    def has_stopped(self) -> bool:
        """Whether the generator's ``finally`` has run, and its thread runs no call of it."""
        return self._task.done() and (self._executor is None or self._executor.over.done())

    def when_stopped(self, call: Callable[[], object]) -> None:
        """Call ``call`` as soon as it ``has_stopped``, in any thread."""
        if self.has_stopped:
            call()
        else:
            self._task.add_done_callback(lambda _: self._when_over(call))

    def _when_over(self, call: Callable[[], object]) -> None:
        if self._executor is None:
            call()
        else:
            # ``_run`` has not done this if its task was cancelled before its first step.
            self._executor.shutdown()
            self._executor.over.add_done_callback(lambda _: call())

    async def stopped(self) -> None:
        """Wait until ``has_stopped``. A sync call of a cancelled generator may still run."""
        stopped: Future[None] = Future()
        self.when_stopped(lambda: stopped.set_result(None))
        await asyncio.wait({asyncio.wrap_future(stopped)})

    async def ended(self, timeout: float | None) -> None:
        """Wait, ``timeout`` seconds at most, until the generator's ``finally`` has run."""
        await asyncio.wait({self._task}, timeout=timeout)

    async def _run(self) -> None:
        if self._executor is None:
            return await self._work()
        try:
            async with ThreadSensitiveContext(executor=self._executor):
                await self._work()
        finally:
            self._executor.shutdown()

    async def _work(self) -> None:
        task = asyncio.current_task()
        try:
            await self._iterate()
            self._sink.complete()
        except asyncio.CancelledError as cancelled:
            # If nobody cancelled this task, the error came out of something that the generator
            # awaited, and an answer that broke off must not look complete.
            if task is not None and task.cancelling():
                self._sink.complete(cancelled)
                raise
            await self._failed(cancelled_inside(cancelled))
        except BaseException as error:
            if asyncio.current_task(self._loop) is not task:
                # The coroutine is being dropped with its loop, where nothing can be awaited.
                raise
            await self._failed(error)
            if isinstance(error, SystemExit | KeyboardInterrupt):
                # As from any other task, these end the loop.
                raise

    async def _failed(self, error: BaseException) -> None:
        try:
            if self._sink.fail(error):
                # In a thread, because receivers of the signal may use the database.
                await sync_to_async(self._sink.report)(error)
        except Exception:
            logger.exception(UNREPORTED)
        finally:
            self._sink.complete(error)

    async def _iterate(self) -> None:
        sink, now = self._sink, self._loop.time
        turn_ends = now() + _TURN
        iterator: Any = None
        try:
            iterator = aiter(self._source)
            async for item in iterator:
                try:
                    sink.put(item)
                except EventStreamError as error:
                    await self._refused(iterator, error)
                # The client's write comes before the generator's next step, and a generator that
                # never awaits must not keep the loop to itself.
                if sink.wants_turn or now() > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = now() + _TURN
                while sink.full and not sink.closed:
                    self._room = self._loop.create_future()
                    await self._room
                if sink.closed:
                    return
        finally:
            await aclose(iterator, self._source)

    async def _refused(self, iterator: Any, error: Exception) -> None:
        athrow = getattr(iterator, "athrow", None)
        if athrow is None:
            raise error
        # At its yield, so that the traceback names the line, and the generator may handle it.
        with suppress(StopAsyncIteration):
            item = await athrow(error)
            try:
                self._sink.put(item)
            except EventStreamError as another:
                await self._refused(iterator, another)


Producer: TypeAlias = TaskProducer | ThreadProducer


async def produce(sink: Sink, source: Source) -> Producer:
    """Iterate ``source`` in a task or a thread. Raises ``Overloaded``.

    Inside a user's ``TestCase`` it is iterated on the test's thread, which alone sees the test's
    transaction.
    """
    in_test = await in_users_test()
    if isinstance(source, AsyncIterable):
        return TaskProducer(sink, source, own_thread=not in_test)
    if in_test:
        return TaskProducer(sink, _step_in_tests_thread(source), own_thread=False)
    return ThreadProducer(sink, source)


async def _step_in_tests_thread(source: Iterable[Any]) -> AsyncIterator[Any]:
    """Yield the items of ``source``, iterated on the thread of the test."""
    iterator = await sync_to_async(lambda: iter(source))()
    step = sync_to_async(lambda: next(iterator, END))
    try:
        item = await step()
        while item is not END:
            try:
                yield item
            except EventStreamError as error:
                item = await sync_to_async(throw)(iterator, error)
            else:
                item = await step()
    finally:
        await sync_to_async(close)(iterator, source)


class _Tasks:
    """The generators in tasks, as a service that a stopping process waits for."""

    def drain(self) -> None:
        """Do nothing: a generator is closed with its stream."""

    def busy(self) -> bool:
        # Found by name: a set of them would cost every stream, and only a stopping process asks.
        return any(
            task.get_name() == GENERATOR
            for loop in stopping.loops()
            for task in asyncio.all_tasks(loop)
        )

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        return []


stopping.register(_Tasks())
