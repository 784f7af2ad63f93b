"""The threads in which the library asks the database."""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async

from django_sse import conf
from django_sse.threads import DatabaseExecutor, in_users_test

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

logger = logging.getLogger("django_sse")

_executor: DatabaseExecutor | None = None


def _get_executor() -> DatabaseExecutor:
    global _executor  # noqa: PLW0603 - one a process
    if _executor is None:
        _executor = DatabaseExecutor(conf.current().READER_THREADS, name="django_sse-database")
    return _executor


async def run(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``call`` in one of the library's threads, or, inside a user's ``TestCase``, in the test's
    own thread: no other sees what its transaction wrote."""
    if await in_users_test():
        return await sync_to_async(call)(*args, **kwargs)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_get_executor(), partial(call, *args, **kwargs))


def run_later(call: Callable[[], object]) -> Future[object]:
    """``call`` in one of the library's threads, from any thread; an error is logged."""
    future = _get_executor().submit(call)
    future.add_done_callback(_log_error)
    return future


def _log_error(future: Future[object]) -> None:
    if not future.cancelled() and (error := future.exception()):
        logger.error("A callback of a stream failed.", exc_info=error)


def _forget_after_fork() -> None:
    global _executor  # noqa: PLW0603
    _executor = None


os.register_at_fork(after_in_child=_forget_after_fork)
