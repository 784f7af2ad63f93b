from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer

from django_sse.notifiers import Wakeup, channel_layer
from django_sse.notifiers.channel_layer import ChannelLayerNotifier, crosses_processes
from django_sse.notifiers.payload import address, encode
from django_sse.wire import make_epoch
from tests.unit.hub.support import eventually
from tests.unit.notifiers.support import (
    IN_MEMORY,
    REDIS_CORE,
    listener_threads_ended,
    listening,
)

WAKEUP = Wakeup("a", make_epoch(), 7, "abc123")


class Moody(BaseChannelLayer):  # type: ignore[misc]
    """A layer of this process whose failures are the test's to choose."""

    queues: dict[str, asyncio.Queue[Any]] = {}
    groups: dict[str, set[str]] = {}
    failures: list[Exception] = []
    receives: list[BaseException] = []
    full = False
    deaf = False

    @classmethod
    def reset(cls) -> None:
        cls.queues, cls.groups = {}, {}
        cls.failures, cls.receives = [], []
        cls.full = cls.deaf = False

    async def new_channel(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        name = f"specific.{uuid4().hex}"
        type(self).queues[name] = asyncio.Queue()
        return name

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.groups.setdefault(group, set()).add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.groups[group].discard(channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        for channel in self.groups.get(group, ()):
            self.queues[channel].put_nowait(message)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if self.full:
            raise ChannelFull
        if not self.deaf:
            self.queues[channel].put_nowait(message)

    async def receive(self, channel: str) -> Any:
        if self.receives:
            raise self.receives.pop(0)
        return await self.queues[channel].get()


MOODY = f"{__name__}.Moody"


def use(settings: Any, backend: str, **config: Any) -> ChannelLayerNotifier:
    settings.DJANGO_SSE = {"NOTIFIER": "channel_layer", "ENVIRONMENT": uuid4().hex}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    return ChannelLayerNotifier()


@pytest.fixture
async def moody(settings: Any) -> AsyncIterator[ChannelLayerNotifier]:
    Moody.reset()
    yield use(settings, MOODY)
    await listener_threads_ended()
    Moody.reset()


def group(settings: Any) -> str:
    return address(settings.DJANGO_SSE["ENVIRONMENT"])


async def tell(settings: Any, *messages: Any) -> None:
    for message in messages:
        await Moody().group_send(group(settings), message)


# -- the receiver


async def test_it_says_so_when_the_layer_fails_once_and_carries_on(
    moody: ChannelLayerNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    Moody.failures = [RuntimeError("moody")] * 3
    async with listening(moody) as ear:
        assert ear.heard == [None]
    (record,) = caplog.records
    assert "RuntimeError: moody" in record.getMessage()


async def test_any_error_of_a_receive_counts_as_a_gap_and_the_group_is_joined_again(
    moody: ChannelLayerNotifier, settings: Any
) -> None:
    async with listening(moody) as ear:
        Moody.receives = [ConnectionError("gone")]
        Moody.groups.clear()
        await tell_directly()
        await ear.hears(lambda: ear.heard == [None, None])
        assert len(Moody.groups[group(settings)]) == 1


async def test_a_layer_that_cancels_whoever_receives_counts_as_a_gap(
    moody: ChannelLayerNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(moody) as ear:
        Moody.receives = [asyncio.CancelledError()]
        await tell_directly()
        await ear.hears(lambda: ear.heard == [None, None])
    (record,) = caplog.records
    assert "the layer cancelled the receiver" in record.getMessage()


async def tell_directly() -> None:
    """Something for whoever receives, so that its next receive begins."""
    for queue in Moody.queues.values():
        queue.put_nowait({"type": "django_sse.wakeup"})


async def test_nothing_to_receive_is_no_error(
    moody: ChannelLayerNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    class RedisTimeout(Exception):
        """redis-py's is no TimeoutError of Python's."""

    RedisTimeout.__name__ = "TimeoutError"
    Moody.receives = [TimeoutError(), RedisTimeout()]
    async with listening(moody) as ear:
        moody.notify([WAKEUP])
    # A sender on another loop cannot reach these queues; the listener is what is shown here.
    assert ear.heard[0] is None
    assert Moody.receives == []
    assert caplog.records == []


async def test_who_is_not_reached_any_more_joins_again(
    moody: ChannelLayerNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_layer, "_PROBE_EVERY", 0.05)
    monkeypatch.setattr(channel_layer, "_CALL_LIMIT", 0.2)
    async with listening(moody) as ear:
        Moody.deaf = True
        # Again and again, for as long as it lasts.
        await ear.hears(lambda: len(ear.heard) > 2)
        Moody.deaf = False
    assert set(ear.heard) == {None}


async def test_a_group_that_was_forgotten_is_joined_again(
    moody: ChannelLayerNotifier, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_layer, "_PROBE_EVERY", 0.02)
    async with listening(moody):
        Moody.groups.clear()
        await eventually(lambda: Moody.groups.get(group(settings)))


async def test_a_layer_that_is_full_may_have_dropped_something(
    moody: ChannelLayerNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It does not come from missing itself.
    monkeypatch.setattr(channel_layer, "_PROBE_EVERY", 3600.0)
    Moody.full = True
    async with listening(moody) as ear:
        await ear.hears(lambda: ear.heard == [None, None])


async def test_a_crowd_may_have_been_too_much_for_the_layer(
    moody: ChannelLayerNotifier, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_layer, "_CROWD_SECONDS", 0.05)
    (payload,) = encode([WAKEUP], settings.DJANGO_SSE["ENVIRONMENT"])
    message = {"type": "django_sse.wakeup", "payload": payload}
    async with listening(moody) as ear:
        await tell(settings, *[message] * 49)
        await ear.hears(lambda: ear.heard.count(WAKEUP) == 49)
        await asyncio.sleep(0.2)
        assert ear.heard.count(None) == 1
        await tell(settings, *[message] * 50)
        await ear.hears(lambda: ear.heard.count(None) == 2)


async def test_what_others_put_into_the_group_is_ignored_and_said_once(
    moody: ChannelLayerNotifier, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(moody) as ear:
        stranger = {"type": "chat.message"}
        await tell(settings, "text", None, stranger, stranger, {"payload": "nonsense"})
        (payload,) = encode(None, settings.DJANGO_SSE["ENVIRONMENT"])
        await tell(settings, {"type": "django_sse.wakeup", "payload": payload})
        await ear.hears(lambda: len(ear.heard) > 1)
    assert ear.heard == [None, None]
    assert len(caplog.records) == 2


async def test_at_the_end_it_leaves_the_group(moody: ChannelLayerNotifier, settings: Any) -> None:
    async with listening(moody):
        assert len(Moody.groups[group(settings)]) == 1
    assert Moody.groups[group(settings)] == set()


# -- checks


def ids(notifier: ChannelLayerNotifier) -> list[str]:
    return [str(each.id).removeprefix("django_sse.") for each in notifier.check()]


def test_a_layer_in_memory_wakes_nobody_and_the_check_says_so(settings: Any) -> None:
    notifier = use(settings, IN_MEMORY)
    assert not notifier.supports_other_processes
    assert ids(notifier) == ["W007"]
    assert notifier.check_reachable() == []


def test_a_layer_that_is_not_configured_is_an_error(settings: Any) -> None:
    notifier = use(settings, REDIS_CORE)
    assert ids(notifier) == []
    assert ids(ChannelLayerNotifier(alias="other")) == ["E012"]
    missing: list[Any] = [{}, {"default": {}}, {"default": {"BACKEND": "no.such.Layer"}}]
    for broken in missing:
        settings.CHANNEL_LAYERS = broken
        assert ids(notifier) == ["E012"]
        assert not crosses_processes("default")


async def test_a_layer_that_is_not_configured_is_said_once_when_it_is_used(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CHANNEL_LAYERS = {}
    settings.DJANGO_SSE = {}
    task = asyncio.create_task(ChannelLayerNotifier().listen(lambda wakeup: None))
    await asyncio.wait({task}, timeout=0.5)
    task.cancel()
    await asyncio.wait({task})
    (record,) = caplog.records
    assert "CHANNEL_LAYERS" in record.getMessage()
