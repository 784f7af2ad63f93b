"""Threads that may touch the database, and who gives back which connection when.

An open stream must hold neither a thread nor a connection. Django gives a request both: asgiref
makes a thread for the request's sync code, and that thread's connections stay open to the end of
the response, which for a stream is never.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync, SyncToAsync, sync_to_async
from django.core import mail
from django.db import connections
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation

from django_sse import conf
from django_sse.log.transactions import in_testcase

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

P = ParamSpec("P")
T = TypeVar("T")


def close_connections() -> None:
    """Give back this thread's database connections, save those inside a transaction.

    Not ``close_old_connections``: with CONN_MAX_AGE that keeps them.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


class Surroundings(NamedTuple):
    """What Django keeps for the thread of a request, for code of that request in another thread.

    It is in asgiref's ``Local``, which stays with its thread even where the context variables are
    taken along.
    """

    language: str | None
    time_zone: tzinfo
    script_prefix: str
    urlconf: Any

    @classmethod
    def here(cls) -> Surroundings:
        """Those of the running thread or task."""
        return cls(
            translation.get_language(),
            timezone.get_current_timezone(),
            get_script_prefix(),
            get_urlconf(),
        )

    def enter(self) -> None:
        """Make them those of the running thread or task."""
        if self.language is None:
            translation.deactivate_all()
        else:
            translation.activate(self.language)
        timezone.activate(self.time_zone)
        set_script_prefix(self.script_prefix)
        set_urlconf(self.urlconf)


def _request_thread() -> tuple[Any, Any] | None:
    """asgiref's context of the running request, and the mapping of contexts to executors that has
    it; None where the request has no thread, or asgiref no longer has these."""
    contexts = getattr(SyncToAsync, "thread_sensitive_context", None)
    executors = getattr(SyncToAsync, "context_to_thread_executor", None)
    context = contexts.get(None) if contexts is not None else None
    if context is None or executors is None or context not in executors:
        return None
    return context, executors


async def close_request_connections() -> None:
    """Close the connections of the request's asgiref thread.

    Django ends the thread with the request, and leaves those that CONN_MAX_AGE keeps open to the
    garbage collector.
    """
    if _request_thread() is not None:
        await sync_to_async(close_connections)()


async def release_request_thread() -> None:
    """Close the connections of the request's asgiref thread and end the thread.

    A later ``sync_to_async`` of the same request makes a new one. There is no public way to end it
    before the request does: ``context_to_thread_executor`` is asgiref's own. Where asgiref no
    longer has it, the thread lives as long as the stream.
    """
    found = _request_thread()
    if found is None:
        return
    context, executors = found
    await sync_to_async(close_connections)()
    executor = executors.pop(context, None)
    if executor is not None:
        executor.shutdown(wait=False)


def under_async_to_sync() -> bool:
    """Whether a sync caller waits for this coroutine and lends it its thread.

    Then that thread may be inside a transaction. asgiref keeps this in
    ``AsyncToSync.executors.current`` and ``loop_thread_executors`` and has no public question for
    it; where it has neither, the answer is yes: the caller's thread is always right, only slower.
    """
    executors = getattr(AsyncToSync, "executors", None)
    loops = getattr(AsyncToSync, "loop_thread_executors", None)
    if executors is None or loops is None:
        return True
    return bool(getattr(executors, "current", None)) or asyncio.get_running_loop() in loops


def leave_callers_thread() -> None:
    """From here on the running task's sync code is not the business of whoever waits for it.

    asgiref keeps the thread that ``async_to_sync`` lends in a context variable, which goes along to
    another loop. There it would be used as long as it waits, and fail after that; and the thread
    would run its next coroutine on that loop, too.
    """
    if hasattr(AsyncToSync, "executors"):
        # Also where it cannot be seen: the first call into a thread brings it back.
        AsyncToSync.executors.current = None


def _any_testcase() -> bool:
    return any(in_testcase(connection) for connection in connections.all(initialized_only=True))


def in_transaction() -> bool:
    """Whether this thread is inside a transaction whose writes no other thread sees yet."""
    return any(
        connection.in_atomic_block and not in_testcase(connection)
        for connection in connections.all(initialized_only=True)
    )


def in_test_run() -> bool:
    """Whether Django's test environment is set up: ``mail.outbox`` exists only there."""
    return hasattr(mail, "outbox")


def thread_in_users_test() -> bool:
    """Whether this thread is inside the transaction of a ``TestCase``, which no other can see.

    Production pays nothing for the question.
    """
    return in_test_run() and _any_testcase()


async def in_users_test() -> bool:
    """``thread_in_users_test`` for the thread that a coroutine's sync code runs in."""
    return in_test_run() and await sync_to_async(_any_testcase)()


class _LiveCursors:
    """Knows whether a query of this thread is still being read, as by ``aiterator()``."""

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


class DatabaseExecutor(Executor):
    """Threads that end, and give back their connections, when idle.

    Idle is ``THREAD_IDLE`` seconds, or ``idle`` if that is more.
    With ``iterates`` a thread stays while a queryset of an earlier call is still being iterated on
    its connection, or a transaction is open; with one worker it may then be used as asgiref's
    thread-sensitive executor.
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
        self._changed = threading.Condition()
        self._threads = 0
        self._waiting = 0
        self._shutdown = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See ``concurrent.futures.Executor.submit``. Raises ``RuntimeError`` after shutdown, and
        where the system refuses a thread; then nothing is kept of the call."""
        future: Future[T] = Future()
        with self._changed:
            if self._shutdown:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._work.append((future, lambda: fn(*args, **kwargs)))
            if self._waiting >= len(self._work):
                self._changed.notify()
            elif self._threads < self._max_workers:
                self._start()
        return future

    def _start(self) -> None:
        self._threads += 1
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except Exception:
            # As where a limit of processes is reached. Counted on, it would be waited for for ever.
            self._threads -= 1
            self._work.pop()
            raise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end when their work is done; ``wait`` is not supported and ignored:
        a stream's end must not wait for a query."""
        with self._changed:
            self._shutdown = True
            if cancel_futures:
                for future, _ in self._work:
                    future.cancel()
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            # Not a call's own: the settings, or those of a database, are wrong.
            if not self._lose(error):
                raise
        finally:
            connections.close_all()

    def _serve(self) -> None:
        live = _LiveCursors()
        with ExitStack() as stack:
            # Not for calls that read to the end what they ask for: the traceback of an error may
            # hold on to a cursor until it is collected.
            for connection in connections.all() if self._iterates else ():
                stack.enter_context(connection.execute_wrapper(live))
            while (item := self._next(live)) is not None:
                future, call = item
                _complete(future, partial(_and_close, call, live) if in_test_run() else call)
                del item, future, call

    def _next(self, live: _LiveCursors) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            while not self._work:
                if self._shutdown:
                    break
                # Read before the thread is counted as one that waits: wrong settings raise.
                idle = max(self._idle, conf.current().THREAD_IDLE)
                self._waiting += 1
                told = self._changed.wait(idle)
                self._waiting -= 1
                if not told and not self._work and not live:
                    break
            else:
                return self._work.popleft()
            self._threads -= 1
            return None

    def _lose(self, error: BaseException) -> bool:
        """This thread ends with ``error``. Returns whether a caller is told: those are whose calls
        no other thread will take."""
        with self._changed:
            self._threads -= 1
            lost = [] if self._threads else list(self._work)
            if lost:
                self._work.clear()
        for future, _ in lost:
            _complete(future, partial(_raise, error))
        return bool(lost)


def _raise(error: BaseException) -> None:
    raise error


def _and_close(call: Callable[[], T], live: _LiveCursors) -> T:
    """``call``, and the connections are given back at once: the end of the test may be the end of
    its database, which PostgreSQL refuses to drop while a connection is open."""
    try:
        return call()
    finally:
        if not live:
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
