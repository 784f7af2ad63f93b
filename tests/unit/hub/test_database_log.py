"""The live side over the log and the notifier that a project has by default."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from django_sse.hub.registry import get_hub
from django_sse.log import get_log
from django_sse.log.model import ModelLog
from django_sse.models import Channel, OutboxEvent, StoredEvent
from django_sse.process import database
from django_sse.publishing import afinish, apublish, apublish_many, aredact
from django_sse.wire import MessageEvent
from django_sse.wire.cursor import tag_of
from tests import options
from tests.appending import append_to
from tests.options import Overrides
from tests.positions import seq_of
from tests.unit.hub.support import Client, connected, entries, eventually, listening, numbers, texts
from tests.unit.log.support import (
    elsewhere,
    locked,
    orphan,
    skip_unless_writers_overlap,
    start_python,
)

pytestmark = pytest.mark.django_db(transaction=True)

Harm = Callable[[], object]


@pytest.fixture(autouse=True)
def configure(settings: Any, request: pytest.FixtureRequest) -> Iterator[Overrides]:
    """Changes settings and constants."""
    yield from options.configure(settings, {"HEARTBEAT": 600.0, "THREAD_IDLE": 0.05}, request)


@pytest.fixture(autouse=True)
async def threads_end(configure: Overrides) -> AsyncIterator[None]:
    """Afterwards the threads of the library have let go of the database."""
    configure()
    yield
    for thread in threading.enumerate():
        if thread.name in ("django_sse-reader", "django_sse-writer", "django_sse-hooks"):
            await asyncio.to_thread(thread.join, 60)


def log() -> ModelLog:
    found = get_log()
    assert isinstance(found, ModelLog)
    return found


async def publish_all(*data: str) -> list[str]:
    ids = await apublish_many([("a", each) for each in data])
    assert ids is not None
    return ids


# -- publishing


async def test_an_event_reaches_the_stream_with_the_id_that_publish_returned() -> None:
    async with listening("a") as client:
        published = await apublish("a", {"n": 1}, event="status")
        event = await client.next()
    assert (event.type, event.data, event.last_event_id) == ("status", '{"n":1}', published)


async def test_publishers_in_threads_are_seen_in_the_order_of_the_log() -> None:
    async with listening("a") as client:
        ids = await asyncio.gather(*[apublish("a", str(number)) for number in range(200)])
        events = await client.take(200)
    received = [event.last_event_id for event in events]
    assert [seq_of(id) for id in received] == list(range(1, 201))
    assert set(received) == set(ids)
    assert sorted(texts(events), key=int) == [str(number) for number in range(200)]


async def test_the_end_of_the_channel_ends_the_stream() -> None:
    async with listening("a") as client:
        await apublish("a", "1")
        assert await afinish("a")
        assert texts(await client.rest()) == ["1", "[DONE]"]


async def test_a_redacted_event_is_gone_from_memory_too() -> None:
    async with listening("a") as client:
        await publish_all("1", "secret", "3")
        await client.take(3)
        assert await aredact("a", 2)
        (topic,) = get_hub().topics.values()
        await eventually(lambda: topic.redactions)
        async with listening("a", since="earliest") as late:
            assert texts(await late.take(2)) == ["1", "3"]


# -- other processes


async def test_another_process_is_heard_and_nothing_of_it_is_lost() -> None:
    async with listening("a") as client:
        process = await asyncio.to_thread(
            start_python, "for n in range(1, 201): publish('a', str(n))"
        )
        assert texts(await client.take(200)) == numbers(1, 200)
        _, errors = await asyncio.to_thread(process.communicate)
        assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize("how", ["at the start", "safety poll"])
@pytest.mark.options(SAFETY_INTERVAL=0.05)
async def test_events_whose_publisher_died_before_the_hook_are_delivered(how: str) -> None:

    def die() -> None:
        orphan(log(), *entries("a", "1", "2"))

    if how == "at the start":
        await database.run(die)
        async with connected("a", since="earliest") as client:
            assert seq_of((await client.opened()).last_event_id) == 0
            assert texts(await client.take(2)) == ["1", "2"]
    else:
        async with listening("a") as client:
            await database.run(die)
            assert texts(await client.take(2)) == ["1", "2"]
    assert await database.run(OutboxEvent.objects.count) == 0


@pytest.mark.options(SAFETY_INTERVAL=0.05)
async def test_orphans_of_channels_that_nobody_streams_are_sequenced_too() -> None:
    async with listening("a") as client:
        await database.run(lambda: orphan(log(), *entries("b", "1"), *entries("a", "2")))
        assert texts([await client.next()]) == ["2"]
    heads = await database.run(log().heads, ["b"])
    assert heads["b"].head == 1


@pytest.mark.options(SAFETY_INTERVAL=0.05)
async def test_an_orphan_that_cannot_be_numbered_keeps_no_other_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:

    def harm() -> None:
        (head,) = log().make(["b"])
        # A number that the channel's row does not know of, as after half a restore.
        StoredEvent.objects.create(channel_id=head.key, seq=1, created=timezone.now(), nonce=1)
        orphan(log(), *entries("b", "1"), *entries("a", "2"))

    async with listening("a") as client:
        await database.run(harm)
        assert texts([await client.next()]) == ["2"]
        await eventually(lambda: "of 'b' could not be numbered" in caplog.text)
    assert await database.run(log().orphans) == ["b"]


async def test_a_locked_channel_keeps_the_clients_of_others_from_nothing(
    configure: Overrides,
) -> None:
    skip_unless_writers_overlap()
    configure(SAFETY_INTERVAL=0.05, NOTIFIER="local")
    await database.run(log().make, ["a"])
    await database.run(lambda: orphan(log(), *entries("a", "1")))
    frozen, thawed = threading.Event(), threading.Event()

    def freeze() -> None:
        with locked("a"):
            frozen.set()
            assert thawed.wait(60)

    freezing = asyncio.create_task(asyncio.to_thread(lambda: elsewhere(freeze)))
    await asyncio.to_thread(frozen.wait, 60)
    try:
        # Of the locked channel more than there are threads to read with.
        async with (
            listening("b") as other,
            listening("a") as client,
            listening("a"),
            listening("a"),
        ):
            await database.write(append_to, log(), entries("b", "heard"))
            assert texts([await other.next()]) == ["heard"]
            async with listening("c"):
                thawed.set()
            assert texts([await client.next()]) == ["1"]
    finally:
        thawed.set()
        await freezing


# -- another log


def wiped() -> None:
    StoredEvent.objects.all().delete()
    Channel.objects.all().delete()


def restored() -> None:
    """From a copy that ends with the third event."""
    third = StoredEvent.objects.get(seq=3)
    with transaction.atomic():
        StoredEvent.objects.filter(seq__gt=3).delete()
        Channel.objects.update(head=3, head_tag=tag_of(third.nonce))


def rewritten() -> None:
    """From that copy, and then as many others were published."""
    restored()
    append_to(log(), entries("a", *numbers(4, 10)))


def trimmed() -> None:
    log().trim("a", count=2)


def torn() -> None:
    """A row in the middle is gone."""
    StoredEvent.objects.filter(seq=7).delete()


def reason(event: MessageEvent) -> str:
    assert event.type == "stream-reset", event
    return json.loads(event.data)["reason"]


async def assert_live(client: Client) -> None:
    for number in numbers(1, 3):
        published = await apublish("a", f"live {number}")
        event = await client.next()
        assert (event.type, event.data) == ("message", f"live {number}")
        assert event.last_event_id == published


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (wiped, "unknown"),
        (restored, "rewound"),
        (rewritten, "rewound"),
        (trimmed, "trimmed"),
        (torn, "trimmed"),
    ],
)
async def test_a_client_that_comes_back_to_another_log_is_told_once(harm: Harm, said: str) -> None:
    ids = await publish_all(*numbers(1, 10))
    await database.run(harm)
    async with connected("a", last_event_id=ids[4]) as client:
        events = [await client.next()]
        while events[-1].type != "stream-reset":
            events.append(await client.next())
        assert reason(events[-1]) == said
        if events[0].type == "stream-reset":
            await client.opened()
        await assert_live(client)


@pytest.mark.parametrize(
    ("harm", "said"), [(wiped, "unknown"), (restored, "rewound"), (rewritten, "rewound")]
)
async def test_a_client_that_is_there_is_told_once(harm: Harm, said: str) -> None:
    async with listening("a") as first, listening("a") as second:
        await publish_all(*numbers(1, 10))
        for client in (first, second):
            await client.take(10)
        await database.write(harm)
        for client in (first, second):
            assert reason(await client.next()) == said
        await assert_live(first)
        assert texts(await second.take(3)) == [f"live {number}" for number in numbers(1, 3)]


@pytest.mark.options(RING_EVENTS=5, PAGE_EVENTS=10, WRITE_BYTES=100)
async def test_a_slow_reader_that_trimming_overtakes_is_told_once() -> None:
    await publish_all(*numbers(1, 500))
    async with listening("a", since="earliest") as client:
        assert texts(await client.take(15)) == numbers(1, 15)
        await database.run(lambda: log().trim("a", count=10))
        events = [await client.next()]
        while events[-1].type == "message":
            events.append(await client.next())
        assert texts(events[:-1]) == numbers(16, 14 + len(events))
        assert reason(events[-1]) == "trimmed"
        await assert_live(client)


@pytest.mark.options(RING_EVENTS=5, PAGE_EVENTS=20)
async def test_a_replay_is_trimmed_behind_its_reader_and_live_goes_on() -> None:
    await publish_all(*numbers(1, 300))
    async with listening("a", since="earliest") as client:
        received: list[str] = []
        while len(received) < 300:
            received += texts(await client.take(50))
            keep = 300 - len(received)
            await database.run(log().trim, "a", count=keep)
        assert received == numbers(1, 300)
        await assert_live(client)
