from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from django_sse.runs.hooks import ask

TIMEOUT = 60.0


def plain(name: str) -> bool:
    return name == "anna"


async def awaited(name: str) -> bool:
    return plain(name)


def decorated(hook: Callable[..., Any]) -> Callable[..., Any]:
    """As a decorator that knows nothing of coroutines."""

    @functools.wraps(hook)
    def wrapper(*args: Any) -> Any:
        return hook(*args)

    return wrapper


class Friends:
    async def __call__(self, name: str) -> bool:
        return plain(name)


def ask_the_database(name: str) -> bool:
    return User.objects.filter(username=name).exists()


@pytest.mark.parametrize(
    "hook",
    [
        plain,
        awaited,
        decorated(awaited),
        decorated(decorated(awaited)),
        functools.partial(awaited),
        Friends(),
    ],
    ids=["sync", "async", "decorated", "twice", "partial", "object"],
)
async def test_what_a_hook_says_is_waited_for_however_it_is_written(
    hook: Callable[..., Any],
) -> None:
    assert await ask(hook, "anna") is True
    assert await ask(hook, "ben") is False


@pytest.mark.django_db(transaction=True)
async def test_a_sync_one_may_use_the_database() -> None:
    assert await ask(ask_the_database, "anna") is False
    await User.objects.acreate(username="anna")
    assert await ask(ask_the_database, "anna") is True


async def test_what_it_raises_is_raised() -> None:
    def refuse() -> bool:
        raise PermissionError("no")

    async def refuse_later() -> bool:
        return refuse()

    for hook in (refuse, refuse_later, decorated(refuse_later)):
        with pytest.raises(PermissionError):
            await ask(hook)


def first_key(name: str) -> str:
    return next(iter(()))


async def test_a_hook_that_finds_nothing_with_next_is_an_error_and_no_silence() -> None:
    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(RuntimeError, match=r"first_key raised StopIteration"):
            await ask(first_key, "anna")
