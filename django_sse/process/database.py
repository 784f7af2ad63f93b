"""The threads in which the library asks the database."""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async

from django_sse import conf
from django_sse.process.threads import DatabaseExecutor, in_users_test

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

logger = logging.getLogger("django_sse")

_executors: dict[str, DatabaseExecutor] = {}


def _executor(name: str) -> DatabaseExecutor:
    """Apart, so that a publish that waits for a lock, or a slow hook of the project's, does not
    keep the replays waiting."""
    if name not in _executors:
        settings = conf.current()
        # A lease is renewed three times in its time: not each time on another connection.
        idle = settings.RUN_LEASE / 2 if name == "lease" else 0.0
        _executors[name] = DatabaseExecutor(
            settings.DATABASE_THREADS, name=f"django_sse-{name}", idle=idle
        )
    return _executors[name]


async def run(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``call``, which reads, in one of the library's threads."""
    return await _run("reader", call, *args, **kwargs)


async def write(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``call``, which may wait for a lock, in one of the library's threads."""
    return await _run("writer", call, *args, **kwargs)


async def renew(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``call``, which nothing else may keep waiting, in threads of its own."""
    return await _run("lease", call, *args, **kwargs)


async def _run(name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``call`` in the threads ``name``, or, inside a user's ``TestCase``, in the test's own
    thread: no other sees what its transaction wrote."""
    if await in_users_test():
        return await sync_to_async(call)(*args, **kwargs)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_executor(name), partial(call, *args, **kwargs))


def run_later(call: Callable[[], object]) -> Future[object]:
    """A project's ``call`` in a thread of the library's, from any thread; an error is logged."""
    future = _executor("hooks").submit(call)
    future.add_done_callback(_log_error)
    return future


def _log_error(future: Future[object]) -> None:
    if not future.cancelled() and (error := future.exception()):
        logger.error("A callback of a stream failed.", exc_info=error)


def _forget_after_fork() -> None:
    _executors.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
