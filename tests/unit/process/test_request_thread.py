"""A request's thread is given back, and its surroundings go along to another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, ThreadSensitiveContext, async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation

from django_sse.process.request_thread import (
    Surroundings,
    close_connections,
    release_request_thread,
    under_async_to_sync,
)

TIMEOUT = 60.0


def assert_ends(thread: threading.Thread) -> None:
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def query() -> tuple[threading.Thread, Any]:
    """This thread, and its connection, which it has used."""
    User.objects.count()
    return threading.current_thread(), connections["default"]


# -- a request's thread


@pytest.mark.django_db(transaction=True)
async def test_the_thread_of_a_request_ends_and_its_connection_is_closed() -> None:
    async with ThreadSensitiveContext():
        thread, connection = await sync_to_async(query)()
        assert connection.connection is not None
        await release_request_thread()
        await asyncio.to_thread(assert_ends, thread)
        assert connection.connection is None
        # Whoever needs one again gets one.
        later, _ = await sync_to_async(query)()
        assert later is not thread


@pytest.mark.django_db(transaction=True)
async def test_a_request_that_is_inside_a_transaction_keeps_its_connection() -> None:
    def begin() -> Any:
        transaction.atomic().__enter__()
        User.objects.count()
        return connections["default"]

    async with ThreadSensitiveContext():
        connection = await sync_to_async(begin)()
        await sync_to_async(close_connections)()
        assert connection.connection is not None
        await sync_to_async(connection.set_rollback)(True)
        await sync_to_async(transaction.atomic().__exit__)(None, None, None)


async def test_a_request_without_a_thread_has_nothing_to_release() -> None:
    await release_request_thread()
    async with ThreadSensitiveContext():
        await release_request_thread()


async def test_where_asgiref_has_no_such_threads_nothing_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ThreadSensitiveContext():
        thread = await sync_to_async(threading.current_thread)()
        with monkeypatch.context() as patch:
            patch.delattr(SyncToAsync, "context_to_thread_executor")
            await release_request_thread()
        with monkeypatch.context() as patch:
            patch.delattr(SyncToAsync, "thread_sensitive_context")
            await release_request_thread()
        assert await sync_to_async(threading.current_thread)() is thread


# -- who waits


async def test_a_coroutine_of_a_loop_of_its_own_is_waited_for_by_nobody() -> None:
    assert not under_async_to_sync()


@pytest.mark.parametrize("how", ["directly", "in a task", "in a view's thread"])
def test_a_coroutine_under_async_to_sync_has_a_caller_who_waits(how: str) -> None:
    async def ask() -> bool:
        if how == "in a task":
            return await asyncio.create_task(later())
        return under_async_to_sync()

    async def later() -> bool:
        return under_async_to_sync()

    def view() -> bool:
        return async_to_sync(ask)()

    async def server() -> bool:
        return await sync_to_async(view)()

    if how == "in a view's thread":
        assert asyncio.run(server())
    else:
        assert async_to_sync(ask)()


# -- the request's surroundings


def test_another_thread_can_have_the_surroundings_of_the_request() -> None:
    def look() -> tuple[Any, ...]:
        return (
            translation.get_language(),
            timezone.get_current_timezone_name(),
            get_script_prefix(),
            get_urlconf(),
        )

    def elsewhere(call: Callable[[], object]) -> tuple[Any, ...]:
        def run() -> None:
            call()
            found.append(look())

        found: list[tuple[Any, ...]] = []
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(TIMEOUT)
        return found[0]

    before = look()
    with translation.override("de"), timezone.override("Asia/Tokyo"):
        set_script_prefix("/shop/")
        set_urlconf("shop.urls")
        try:
            here = Surroundings.here()
            assert elsewhere(here.enter) == ("de", "Asia/Tokyo", "/shop/", "shop.urls")
            assert elsewhere(lambda: None) == before
        finally:
            set_script_prefix("/")
            set_urlconf(None)


def test_a_request_without_a_language_has_none_elsewhere_either() -> None:
    found: list[str | None] = []

    def look(here: Surroundings) -> None:
        here.enter()
        found.append(translation.get_language())

    with translation.override(None):
        here = Surroundings.here()
    thread = threading.Thread(target=look, args=(here,))
    thread.start()
    thread.join(TIMEOUT)
    assert found == [None]
