"""The channel layers of channels_redis, with a real Redis."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio

from tests.databases import REDIS_URL
from tests.unit.notifiers.support import (
    NOWHERE,
    REDIS_CORE,
    REDIS_PUBSUB,
    TIMEOUT,
    Ear,
    listener_threads_ended,
    listening,
)
from tests.unit.notifiers.test_channel_layer import WAKEUP, use

pytestmark = pytest.mark.needs("redis")


@pytest.mark.parametrize("backend", [REDIS_CORE, REDIS_PUBSUB])
async def test_its_connections_are_its_own_and_are_closed_at_the_end(
    backend: str, settings: Any
) -> None:
    name = f"sse-{uuid4().hex}"
    notifier = use(settings, backend, hosts=[{"address": REDIS_URL, "client_name": name}])

    async def connections() -> int:
        return sum(each["name"] == name for each in await server.client_list())

    async def gone() -> None:
        """The server sees a moment later that its client has closed."""
        async with asyncio.timeout(TIMEOUT):
            while await connections():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)

    async with redis.asyncio.from_url(REDIS_URL) as server:
        for _ in range(3):
            async with listening(notifier):
                assert 1 <= await connections() <= 3
            await gone()
        notifier.notify([WAKEUP])
        await listener_threads_ended()
        await gone()


@pytest.mark.parametrize("backend", [REDIS_CORE, REDIS_PUBSUB])
async def test_it_ends_whenever_it_is_cancelled(backend: str, settings: Any) -> None:
    notifier = use(settings, backend, hosts=[REDIS_URL])
    for turns in range(40):
        ear = Ear()
        task = asyncio.create_task(notifier.listen(ear.wake))
        await ear.more()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=60)
        assert done == {task}


@pytest.mark.parametrize("backend", [REDIS_CORE, REDIS_PUBSUB])
def test_only_what_is_asked_to_connects_to_see_whether_it_can(backend: str, settings: Any) -> None:
    assert use(settings, backend, hosts=[REDIS_URL]).check_reachable() == []
    notifier = use(settings, backend, hosts=[f"redis://{NOWHERE}"])
    assert notifier.check() == []
    (message,) = notifier.check_reachable()
    assert message.id == "django_sse.W002"
