"""Where the code of a stream runs: decided here, once, for responses and for runs."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIRequest

from django_sse.process.background import get_background_loop
from django_sse.process.testcase import (
    in_users_test,
    is_from_sync_test_client,
    thread_in_users_test,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from django.http import HttpRequest

T = TypeVar("T")


class Place(Enum):
    """Where a generator lives from its first step to its last."""

    LOOP = auto()
    """The server's event loop, which runs on after the request (ASGI)."""

    BACKGROUND = auto()
    """The process's background loop, since the server has none (WSGI)."""

    TEST = auto()
    """The loop that a synchronous test client, or a test in its transaction, waits for.

    The loop ends with the request, so whatever lives there has to end, or to be read, before.
    """

    @classmethod
    async def of(cls, request: HttpRequest | None) -> Place:
        """The place for ``request``, whose view runs in a coroutine."""
        if isinstance(request, ASGIRequest):
            return cls.LOOP
        is_in_test = is_from_sync_test_client(request) or await in_users_test()
        return cls.TEST if is_in_test else cls.BACKGROUND

    @classmethod
    def of_thread(cls, request: HttpRequest | None) -> Place:
        """The place for ``request``, whose view runs in this thread."""
        if isinstance(request, ASGIRequest):
            return cls.LOOP
        return cls.BACKGROUND if may_leave_thread(request) else cls.TEST

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run ``work()`` here, called from a coroutine of the request."""
        if self is Place.BACKGROUND:
            return await asyncio.wrap_future(get_background_loop().submit(work()))
        return await work()

    def run_from_thread(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run ``work()`` here and block until it has ended."""
        if self is Place.BACKGROUND:
            return get_background_loop().submit(work()).result()
        return async_to_sync(work)()


def may_leave_thread(request: HttpRequest | None) -> bool:
    """Whether a generator may run in another thread than this one, in which its view runs."""
    return not (is_from_sync_test_client(request) or thread_in_users_test())
