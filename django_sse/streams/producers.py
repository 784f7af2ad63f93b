"""Producers run generators: an async one in a task, a sync one in a thread.

A generator stays there from its first step to its last. A time-out or task group that it has open
belongs to its own task and not to the server's, and a cursor that it has open to its own thread's
connection.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
import time
from collections.abc import AsyncIterable, Iterable
from contextlib import AsyncExitStack, ExitStack, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections

from django_sse import conf
from django_sse.exceptions import EventStreamError, Overloaded
from django_sse.process import stopping
from django_sse.process.database import DatabaseExecutor
from django_sse.process.lifecycle import Order, at_exit, in_forked_child
from django_sse.process.request_thread import Surroundings
from django_sse.process.testcase import in_users_test

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

logger = logging.getLogger("django_sse")

# Seconds that an exiting process waits for generators in threads whose streams are closed.
_GRACE = 2.0
# Seconds between two looks of a waiting thread at whether its stream is still read.
_LOOK = 15.0
# Seconds after which a generator yields to the rest of the loop, whether or not it awaits.
_TURN = 0.002

GENERATOR = "django_sse-generator"
"""The name of the tasks and threads in which generators run."""

_running_lock = threading.Lock()
_running: set[ThreadProducer] = set()


Source: TypeAlias = AsyncIterable[Any] | Iterable[Any]

_UNREPORTED = "The error of a generator could not be reported."


class Sink(Protocol):
    """The taker of a producer's items: a stream, or a run."""

    @property
    def full(self) -> bool: ...

    @property
    def wants_turn(self) -> bool: ...

    @property
    def closed(self) -> bool: ...

    def put(self, item: Any) -> None: ...

    def fail(self, error: BaseException) -> bool: ...

    def report(self, error: BaseException) -> None: ...

    def complete(self, error: BaseException | None = None) -> None: ...


class TaskProducer:
    """A producer that iterates an async iterable in a task of its own on the running loop.

    The task sees the request's context variables (the active language, say) but not the request's
    thread. With ``own_thread`` its sync calls run in a thread of its own, which closes its database
    connection when idle.
    """

    def __init__(self, sink: Sink, source: AsyncIterable[Any], *, own_thread: bool) -> None:
        self._sink = sink
        self._source = source
        self._own_thread = own_thread
        self._room: asyncio.Future[None] | None = None
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
        ``yield``, and its ``finally`` runs."""
        self._task.cancel()

    async def ended(self, timeout: float | None) -> None:
        """Wait, ``timeout`` seconds at most, until the generator's ``finally`` has run."""
        await asyncio.wait({self._task}, timeout=timeout)

    async def _run(self) -> None:
        if not self._own_thread:
            return await self._work()
        executor = DatabaseExecutor(name=GENERATOR, iterates=True)
        try:
            async with ThreadSensitiveContext(executor=executor):
                await self._work()
        finally:
            executor.shutdown()

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
            await self._failed(_cancelled_inside(cancelled))
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
            logger.exception(_UNREPORTED)
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
            await _aclose(iterator, self._source)

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


class ThreadProducer:
    """A producer that iterates a sync iterable in a thread of its own.

    A process has at most ``SYNC_GENERATORS`` of them.

    Raises ``Overloaded`` at that limit, and when the system refuses a thread.
    """

    def __init__(self, sink: Sink, source: Iterable[Any]) -> None:
        self._sink = sink
        self._source = source
        self._changed = threading.Condition()
        self._finished: concurrent.futures.Future[None] = concurrent.futures.Future()
        # Its own copy of the context: see TaskProducer.
        run, args = contextvars.copy_context().run, (self._run, Surroundings.here())
        thread = threading.Thread(target=run, args=args, name=GENERATOR, daemon=True)
        self._take_place()
        try:
            thread.start()
        except Exception as error:
            _running.discard(self)
            raise Overloaded(
                "The system refused a thread for a sync generator. Write it with async def, which "
                "needs no thread."
            ) from error

    def _take_place(self) -> None:
        most = conf.current().LIMITS.SYNC_GENERATORS
        with _running_lock:
            if len(_running) >= most:
                raise Overloaded(
                    f"{len(_running)} sync generators are streaming, each in a thread, and "
                    f"SYNC_GENERATORS allows {most}. Raise it, or write them with async def."
                )
            _running.add(self)

    def resume(self) -> None:
        """Go on: the sink has room again."""
        with self._changed:
            self._changed.notify()

    def stop(self) -> None:
        """Close the generator at its ``yield``.

        A thread cannot be interrupted: a generator that blocks in a call is closed after it.
        """
        self.resume()

    async def ended(self, timeout: float | None) -> None:
        """Wait, ``timeout`` seconds at most, until the generator's ``finally`` has run."""
        await asyncio.wait({asyncio.wrap_future(self._finished)}, timeout=timeout)

    def join(self, timeout: float) -> None:
        """``ended`` for a thread. Returns at once when the sink is still open."""
        if self._sink.closed:
            concurrent.futures.wait({self._finished}, timeout)

    def _run(self, surroundings: Surroundings) -> None:
        try:
            surroundings.enter()
            self._iterate()
            self._sink.complete()
        except asyncio.CancelledError as cancelled:
            # Nobody cancels a thread. Raised to the view, it would cancel the request's task, and
            # some servers then never answer.
            self._failed(_cancelled_inside(cancelled))
        except BaseException as error:
            # Also SystemExit: it ends no process from a thread, and the client would wait for ever.
            self._failed(error)
        finally:
            try:
                connections.close_all()
            except Exception:
                # Some drivers raise when a connection is closed twice.
                logger.exception("The connections of a sync generator could not be closed.")
            _running.discard(self)
            self._finished.set_result(None)

    def _failed(self, error: BaseException) -> None:
        try:
            if self._sink.fail(error):
                self._sink.report(error)
        except Exception:
            logger.exception(_UNREPORTED)
        finally:
            self._sink.complete(error)

    def _iterate(self) -> None:
        iterator: Any = None
        try:
            iterator = iter(self._source)
            for item in iterator:
                self._put(iterator, item)
                with self._changed:
                    while self._sink.full and not self._sink.closed:
                        self._changed.wait(_LOOK)
                if self._sink.closed:
                    return
        finally:
            _close(iterator, self._source)

    def _put(self, iterator: Iterator[Any], item: Any) -> None:
        try:
            self._sink.put(item)
        except EventStreamError as error:
            if (instead := _throw(iterator, error)) is not _END:
                self._put(iterator, instead)


def _close(iterator: object, source: object) -> None:
    """Close ``iterator`` and the ``source`` that gave it, if that is another object: one whose
    ``__iter__`` is a generator has its ``finally`` there."""
    with ExitStack() as stack:
        for close in _methods("close", source, iterator):
            stack.callback(close)


async def _aclose(iterator: object, source: object) -> None:
    """``_close`` for asynchronous ones."""
    async with AsyncExitStack() as stack:
        for aclose in _methods("aclose", source, iterator):
            stack.push_async_callback(aclose)


def _methods(name: str, *owners: object) -> list[Any]:
    """Return the methods ``name`` of the different ``owners`` that have one."""
    different = {id(each): each for each in owners}.values()
    return [getattr(each, name) for each in different if hasattr(each, name)]


def _cancelled_inside(cancelled: asyncio.CancelledError) -> RuntimeError:
    error = RuntimeError("Something that the generator waited for was cancelled.")
    error.__cause__ = cancelled
    return error


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


_END = object()


async def _step_in_tests_thread(source: Iterable[Any]) -> AsyncIterator[Any]:
    """Yield the items of ``source``, iterated on the thread of the test."""
    iterator = await sync_to_async(lambda: iter(source))()
    step = sync_to_async(lambda: next(iterator, _END))
    try:
        item = await step()
        while item is not _END:
            try:
                yield item
            except EventStreamError as error:
                item = await sync_to_async(_throw)(iterator, error)
            else:
                item = await step()
    finally:
        await sync_to_async(_close)(iterator, source)


def _throw(iterator: Any, error: Exception) -> Any:
    throw = getattr(iterator, "throw", None)
    if throw is None:
        raise error
    try:
        return throw(error)
    except StopIteration:
        return _END


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


@at_exit(Order.GENERATOR_THREADS)
def _wait_for_threads() -> None:
    # The threads are daemons, so a generator that blocks for ever does not keep the process.
    until = time.monotonic() + _GRACE
    for producer in list(_running):
        producer.join(max(0.0, until - time.monotonic()))


@in_forked_child(Order.GENERATOR_THREADS)
def _forget_after_fork() -> None:
    # The threads are the parent's.
    global _running_lock  # noqa: PLW0603
    _running_lock = threading.Lock()
    _running.clear()
