"""Several channels on one stream: `Subscription` with more than one topic."""

from __future__ import annotations

import random

import pytest

from django_sse.wire import MessageEvent
from django_sse.wire.cursor import MAX_LENGTH
from tests.unit.hub.support import (
    WatchedLog,
    commit,
    commit_elsewhere,
    connected,
    end,
    listening,
    numbers,
    texts,
)

pytestmark = pytest.mark.usefixtures("notifier")

CHANNELS = ("a", "b", "c")


def publish_at_random(count: int, seed: int) -> None:
    """Events over all channels; each says its channel and its number there."""
    chance = random.Random(seed)
    sent = dict.fromkeys(CHANNELS, 0)
    for _ in range(count):
        channel = chance.choice(CHANNELS)
        sent[channel] += 1
        commit(channel, f"{channel}{sent[channel]}")


def of(channel: str, events: list[MessageEvent]) -> list[str]:
    return [event.data for event in events if event.data.startswith(channel)]


async def test_the_id_says_the_position_in_each_channel(log: WatchedLog) -> None:
    commit_elsewhere("a", *numbers(1, 3))
    commit_elsewhere("b", *numbers(1, 5))
    async with connected("a", "b") as client:
        event = await client.opened()
        assert event.last_event_id == f"{log.position('a', 3)}.{log.position('b', 5)}"
        commit("b", "6")
        assert (
            await client.next()
        ).last_event_id == f"{log.position('a', 3)}.{log.position('b', 6)}"
        commit("a", "4")
        assert (
            await client.next()
        ).last_event_id == f"{log.position('a', 4)}.{log.position('b', 6)}"


async def test_each_channels_events_come_once_and_in_order() -> None:
    async with listening(*CHANNELS) as client:
        publish_at_random(600, seed=1)
        events = await client.take(600)
    for channel in CHANNELS:
        received = of(channel, events)
        assert received == [f"{channel}{number}" for number in range(1, len(received) + 1)]


async def test_from_every_id_each_channel_goes_on_where_it_was() -> None:
    async with listening(*CHANNELS) as client:
        publish_at_random(40, seed=2)
        events = await client.take(40)
    for place, event in enumerate(events):
        before, rest = events[: place + 1], events[place + 1 :]
        async with connected(*CHANNELS, last_event_id=event.last_event_id) as client:
            await client.opened()
            received = await client.take(len(rest))
        for channel in CHANNELS:
            assert of(channel, before) + of(channel, received) == of(channel, events)


@pytest.mark.options(RING_EVENTS=10, PAGE_EVENTS=30, WRITE_BYTES=500)
async def test_a_replay_of_several_channels_comes_once_and_in_order() -> None:
    publish_at_random(1500, seed=3)
    async with listening(*CHANNELS, since="earliest") as client:
        publish_at_random(0, seed=3)
        events = await client.take(1500)
    for channel in CHANNELS:
        received = of(channel, events)
        assert received == [f"{channel}{number}" for number in range(1, len(received) + 1)]


@pytest.mark.options(RING_EVENTS=20, PAGE_EVENTS=10)
async def test_many_cuts_lose_and_double_nothing() -> None:
    chance = random.Random(4)
    async with listening(*CHANNELS) as client:
        position = client.last_event_id
    publish_at_random(300, seed=4)
    events: list[MessageEvent] = []
    while len(events) < 300:
        async with connected(*CHANNELS, last_event_id=position) as client:
            await client.opened()
            events += await client.take(min(chance.randint(0, 40), 300 - len(events)))
        position = events[-1].last_event_id if events else position
    for channel in CHANNELS:
        received = of(channel, events)
        assert received == [f"{channel}{number}" for number in range(1, len(received) + 1)]


async def test_the_end_of_one_channel_does_not_end_the_stream(log: WatchedLog) -> None:
    async with listening("a", "b") as client:
        commit("a", "a1")
        end("a")
        commit("b", "b1")
        assert sorted(texts(await client.take(2))) == ["a1", "b1"]
        commit("b", "b2")
        event = await client.next()
    assert (event.type, event.data) == ("message", "b2")
    assert event.last_event_id == f"{log.position('a', 2)}.{log.position('b', 2)}"


async def test_the_end_of_the_last_channel_ends_the_stream_once(log: WatchedLog) -> None:
    async with listening("a", "b") as client:
        end("a", "the end of a")
        commit("b", "b1")
        end("b", "the end of b")
        events = await client.rest()
    assert [(event.type, event.data) for event in events] == [
        ("message", "b1"),
        ("close", "the end of b"),
    ]
    assert events[-1].last_event_id == f"{log.position('a', 1)}.{log.position('b', 2)}"


async def test_channels_that_have_finished_together_are_replayed_to_one_end() -> None:
    for channel in CHANNELS:
        commit(channel, f"{channel}1")
        end(channel)
    async with listening(*CHANNELS, since="earliest") as client:
        events = await client.rest()
    assert [event.type for event in events] == ["message"] * 3 + ["close"]


async def test_a_client_that_had_only_one_end_is_replayed_the_other() -> None:
    async with listening("a", "b") as client:
        end("a")
        commit("b", "b1")
        position = (await client.next()).last_event_id
    end("b")
    async with connected("a", "b", last_event_id=position) as client:
        await client.opened()
        assert [event.type for event in await client.rest()] == ["close"]


async def test_redacted_events_are_skipped(log: WatchedLog) -> None:
    commit("a", "a1", "secret", "a3")
    log.redact("a", 2)
    async with listening("a", "b", since="earliest") as client:
        commit("b", "b1")
        assert sorted(texts(await client.take(3))) == ["a1", "a3", "b1"]


@pytest.mark.options(PAGE_EVENTS=5, RING_EVENTS=10, HEARTBEAT=3600.0)
async def test_behind_a_page_of_redacted_events_nothing_waits(log: WatchedLog) -> None:
    commit("a", *numbers(1, 15))
    for seq in range(1, 6):
        log.redact("a", seq)
    async with listening("a", since=10) as filling:
        assert texts(await filling.take(10)) == numbers(6, 15)
        async with listening("a", "b", since="earliest") as client:
            assert texts(await client.take(10)) == numbers(6, 15)


@pytest.mark.options(WRITE_BYTES=10_000)
async def test_a_write_is_bounded_but_for_a_single_event() -> None:
    sizes = [100, 6000, 6000, 25_000, 100, 100, 9000]
    async with listening("a", "b") as client:
        for channel in ("a", "b"):
            commit(channel, *["x" * size for size in sizes])
        events = await client.take(2 * len(sizes))
        assert sorted(len(event.data) for event in events) == sorted(2 * sizes)
        assert [len(chunk) > 10_000 for chunk in client.chunks].count(True) == 2


@pytest.mark.options(WRITE_BYTES=1000)
async def test_a_channel_with_much_to_say_does_not_silence_the_others() -> None:
    async with listening(*CHANNELS) as client:
        for channel in CHANNELS:
            commit(channel, *[f"{channel}".ljust(400, ".")] * 20)
        for _ in range(6):
            await client.chunk()
        heard = {channel: len(of(channel, client._events)) for channel in CHANNELS}
    assert min(heard.values()) >= 2, heard


async def test_as_many_channels_as_may_be_have_an_id_that_comes_back() -> None:
    channels = numbers(1, 32)
    for channel in channels:
        commit_elsewhere(channel, *[channel] * 3)
    async with listening(*channels, since=2) as client:
        events = await client.take(64)
    assert len(events[-1].last_event_id) <= MAX_LENGTH
    async with connected(*channels, last_event_id=events[20].last_event_id) as client:
        await client.opened()
        received = await client.take(43)
    assert sorted(texts(events[:21]) + texts(received)) == sorted(channels * 2)


async def test_bodies_are_shared_with_streams_of_one_channel() -> None:
    async with listening("a") as single, listening("a", "b") as several:
        commit("a", "x" * 1000)
        own, joined = await single.chunk(), await several.chunk()
    assert own.partition(b"\n")[2] == joined.partition(b"\n")[2]


async def test_the_order_of_the_channels_may_change_between_two_connections(
    log: WatchedLog,
) -> None:
    async with listening("a", "b") as client:
        commit("a", "a1")
        position = (await client.next()).last_event_id
    commit("a", "a2")
    commit("b", "b1")
    async with connected("b", "a", last_event_id=position) as client:
        opened = await client.opened()
        assert opened.last_event_id == f"{log.position('b', 0)}.{log.position('a', 1)}"
        assert sorted(texts(await client.take(2))) == ["a2", "b1"]
