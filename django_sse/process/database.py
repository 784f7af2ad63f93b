"""The threads in which the library queries the database."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections import deque
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from django_sse import conf, constants
from django_sse.process import threads
from django_sse.process.lifecycle import Order, in_forked_child
from django_sse.process.testcase import in_test_run, in_users_test

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("django_sse")


class LiveCursors:
    """The queries of this thread that are still being read, as by ``aiterator()``.

    It is true while there are any, and while a transaction is open.
    """

    def __init__(self) -> None:
        self._cursors: weakref.WeakSet[Any] = weakref.WeakSet()

    def __call__(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        result = execute(sql, params, many, context)
        # Only now: the error of a query that failed holds on to its cursor until it is collected.
        self._cursors.add(context["cursor"])
        return result

    def __bool__(self) -> bool:
        return bool(len(self._cursors)) or any(
            connection.in_atomic_block for connection in connections.all(initialized_only=True)
        )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notice the queries of this thread."""
        with ExitStack() as stack:
            for connection in connections.all():
                stack.enter_context(connection.execute_wrapper(self))
            yield

    def give_back(self) -> None:
        """Give connections of a pool (psycopg's) back, for which others may wait."""
        if not self:
            for connection in connections.all(initialized_only=True):
                if connection.settings_dict["OPTIONS"].get("pool"):
                    connection.close()


def has_pool() -> bool:
    """Return whether a database of the project has a pool of connections."""
    return any(each["OPTIONS"].get("pool") for each in connections.databases.values())


class DatabaseExecutor(Executor):
    """Threads that end when idle and then close their connections.

    A thread is idle after ``THREAD_IDLE`` seconds, or ``idle`` seconds if that is more. With
    ``iterates`` a thread stays while a queryset of an earlier call is still being iterated on its
    connection, or while a transaction is open; with one worker the executor may then be asgiref's
    thread-sensitive one.
    """

    def __init__(
        self,
        max_workers: int = 1,
        *,
        name: str = "django_sse",
        iterates: bool = False,
        idle: float = 0.0,
    ) -> None:
        self._iterates = iterates
        self._idle = idle
        self._max_workers = max_workers
        self._name = name
        self._work: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._lock = threading.RLock()
        # The threads that wait for work, the longest first. The last one gets it: its data is still
        # in the processor's caches, and the others may become idle.
        self._waiting: list[threading.Condition] = []
        self._threads = 0
        self._shutdown = False
        self.over: Future[None] = Future()
        """Done when no call is under way after ``shutdown``."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See ``concurrent.futures.Executor.submit``.

        Raises ``RuntimeError`` after shutdown, and when the system refuses a thread; the call is
        then forgotten.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._shutdown:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._work.append((future, lambda: fn(*args, **kwargs)))
            if self._waiting:
                self._waiting.pop().notify()
            elif self._threads < self._max_workers:
                self._start()
        return future

    def _start(self) -> None:
        self._threads += 1
        try:
            threads.start(self._run, name=self._name)
        except Exception:
            # A limit of the system is reached. Counted, calls would wait for this thread for ever.
            self._threads -= 1
            self._work.pop()
            raise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end when their work is done.

        ``wait`` is ignored: the end of a stream must not wait for a query.
        """
        with self._lock:
            self._shutdown = True
            if cancel_futures:
                for future, _ in self._work:
                    future.cancel()
            for waiting in self._waiting:
                waiting.notify()
        self._tell_if_over()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            # Not the error of a call: the settings of a database are wrong.
            if not self._lose(error):
                raise
        finally:
            connections.close_all()
            self._tell_if_over()

    def _tell_if_over(self) -> None:
        with self._lock:
            busy = self._work or self._threads > len(self._waiting)
            if self._shutdown and not busy and not self.over.done():
                self.over.set_result(None)

    def _serve(self) -> None:
        live = LiveCursors()
        # Calls that read their result to the end need none of this, and the traceback of an error
        # may hold on to a cursor until it is collected.
        with live.watching() if self._iterates else nullcontext():
            while (item := self._next(live)) is not None:
                future, call = item
                _complete(future, partial(_and_give_back, call, live))
                del item, future, call

    def _next(self, live: LiveCursors) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._lock:
            while not self._work:
                if self._shutdown:
                    break
                idle = max(self._idle, constants.THREAD_IDLE)
                if not self._wait(idle) and not self._work and not live:
                    break
            else:
                return self._work.popleft()
            self._threads -= 1
            return None

    def _wait(self, seconds: float) -> bool:
        """Wait until there is work for this thread, or a shutdown; return whether there is work."""
        woken = threading.Condition(self._lock)
        self._waiting.append(woken)
        woken.wait(seconds)
        if woken not in self._waiting:
            return True
        self._waiting.remove(woken)
        return False

    def _lose(self, error: BaseException) -> bool:
        """End this thread with ``error``, and fail the calls that no other thread will take.

        Returns whether there was such a call.
        """
        with self._lock:
            self._threads -= 1
            lost = [] if self._threads else list(self._work)
            if lost:
                self._work.clear()
        for future, _ in lost:
            _complete(future, partial(_raise, error))
        return bool(lost)


def _raise(error: BaseException) -> None:
    raise error


def _and_give_back(call: Callable[[], T], live: LiveCursors) -> T:
    """Run ``call`` and close the connections that must not wait for this thread to be idle.

    In a test run these are all: the test's database may be dropped when the test ends, and
    PostgreSQL refuses to drop one that has a connection.
    """
    try:
        return call()
    finally:
        live.give_back()
        if in_test_run() and not live:
            connections.close_all()


def _complete(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


_executors: dict[str, DatabaseExecutor] = {}


def _executor(name: str) -> DatabaseExecutor:
    """The threads ``name``.

    They are separate, so that replays do not wait behind a publish that waits for a lock, or
    behind a slow hook of the project's.
    """
    if name not in _executors:
        # A lease is renewed four times in its time; the connection is kept from one to the next.
        idle = conf.current().RUNS.LEASE / 2 if name == "lease" else 0.0
        _executors[name] = DatabaseExecutor(
            constants.DATABASE_THREADS, name=f"django_sse-{name}", idle=idle
        )
    return _executors[name]


async def run(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``call``, which only reads, in one of the library's threads."""
    return await _run("reader", call, *args, **kwargs)


async def write(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``call``, which may wait for a lock, in one of the library's threads."""
    return await _run("writer", call, *args, **kwargs)


async def renew(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``call``, which must not wait behind anything else, in threads of its own."""
    return await _run("lease", call, *args, **kwargs)


async def _run(name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``call`` in the threads ``name``.

    Inside a user's ``TestCase`` it runs in the test's own thread, since no other thread sees what
    the test's transaction wrote.
    """
    if await in_users_test():
        return await sync_to_async(call)(*args, **kwargs)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_executor(name), partial(call, *args, **kwargs))


def run_later(call: Callable[[], object]) -> Future[object]:
    """Run a project's ``call`` soon in one of the library's threads, and log its error.

    May be called from any thread.
    """
    future = _executor("hooks").submit(call)
    future.add_done_callback(_log_error)
    return future


def _log_error(future: Future[object]) -> None:
    if not future.cancelled() and (error := future.exception()):
        logger.error("A callback of a stream failed.", exc_info=error)


@in_forked_child(Order.DATABASE_THREADS)
def _forget_after_fork() -> None:
    _executors.clear()
