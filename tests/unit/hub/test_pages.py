from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from django_sse.hub.pages import Hole
from tests.unit.hub.support import (
    WatchedLog,
    append,
    asked,
    eventually,
    in_ring,
    numbers,
    open_topic,
    read_up_to,
)

pytestmark = pytest.mark.usefixtures("notifier")


@pytest.mark.options(RING_EVENTS=1)
async def test_all_readers_that_wait_for_a_page_share_one_read(log: WatchedLog) -> None:
    append(*numbers(1, 10))
    topic = await open_topic()
    with log.held():
        readers = [asyncio.create_task(topic.pages.after(3)) for _ in range(50)]
        await asked(log)
    pages = await asyncio.gather(*readers)
    assert [frame.seq for frame in pages[0].frames] == list(range(4, 11))
    assert all(page is pages[0] for page in pages)
    assert log.reads == [3]


@pytest.mark.options(RING_EVENTS=1)
async def test_a_client_that_leaves_does_not_cancel_the_read_of_the_others(log: WatchedLog) -> None:
    append(*numbers(1, 10))
    topic = await open_topic()
    with log.held():
        leaving, staying = (asyncio.create_task(topic.pages.after(3)) for _ in range(2))
        await asked(log)
        leaving.cancel()
    assert [frame.seq for frame in (await staying).frames] == list(range(4, 11))
    assert log.reads == [3]


@pytest.mark.parametrize("hint", [0, 1, 2, 2**63 - 1])
async def test_a_hint_that_is_wrong_hides_nothing_for_long(hint: int) -> None:
    topic = await open_topic()
    append("1", "2", "3")
    topic.look(hint)
    topic.look(3)
    await eventually(lambda: in_ring(topic) == ["1", "2", "3"])


@pytest.mark.options(RING_BYTES=1 << 24)
async def test_a_page_whose_events_were_delivered_meanwhile_is_not_the_end(log: WatchedLog) -> None:
    topic = await open_topic()
    first = append(*["x" * 100_000] * 10)
    append(*["y" * 100_000] * 10)
    with log.held():
        topic.look(20)
        await asked(log)
        # The page that is read has but the first few, for their size.
        topic.deliver(first)
    await read_up_to(topic, 20)


async def test_a_new_topic_fills_its_ring_first() -> None:
    append(*numbers(1, 200))
    topic = await open_topic()
    assert (await topic.pages.after(150)).frames == []
    assert in_ring(topic) == numbers(1, 200)


async def test_a_thousand_readers_at_different_places_are_a_few_reads(log: WatchedLog) -> None:
    append(*numbers(1, 1000))
    topic = await open_topic()
    pages = await asyncio.gather(*[topic.pages.after(after) for after in range(1000)])
    assert [page.frames for page in pages] == [[]] * 1000
    assert in_ring(topic) == numbers(1, 1000)
    assert len(log.reads) <= 1 + 1000 // 64


@pytest.mark.options(RING_BYTES=10_000, PAGE_EVENTS=500)
async def test_a_ring_is_filled_with_the_newest_that_it_can_hold(log: WatchedLog) -> None:
    append(*["x" * 960] * 1000)
    topic = await open_topic()
    page = await topic.pages.after(980)
    assert page.frames[0].seq == 981
    assert len(in_ring(topic)) == 10
    assert len(log.reads) <= 3


@pytest.mark.options(RING_EVENTS=10)
async def test_a_reader_far_behind_does_not_wait_for_the_ring(log: WatchedLog) -> None:
    append(*numbers(1, 1000))
    topic = await open_topic()
    assert (await topic.pages.after(500)).frames[0].seq == 501
    assert log.reads == [500]


async def test_a_page_is_not_read_where_the_ring_reaches(log: WatchedLog) -> None:
    topic = await open_topic()
    topic.deliver(append("1", "2"))
    assert (await topic.pages.after(1)).frames == []
    assert log.reads == []


@pytest.mark.options(RING_EVENTS=1)
async def test_a_page_is_read_however_long_the_log_is_away(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    append(*numbers(1, 10))
    topic = await open_topic()
    log.away = True
    reader = asyncio.create_task(topic.pages.after(3))
    await eventually(lambda: "wait for the log" in caplog.text)
    log.away = False
    assert len((await reader).frames) == 7


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("the event after the cursor was trimmed", lambda log: log.trim("a", count=5)),
        ("all events were trimmed", lambda log: log.trim("a", count=0)),
        ("the event after the cursor is missing", lambda log: log.missing.add(4)),
        ("an event in the middle is missing", lambda log: log.missing.add(7)),
        ("the log is an older copy", lambda log: log.restore("a", 3)),
        ("the log was wiped", lambda log: log.clear()),
    ],
)
@pytest.mark.options(RING_EVENTS=1)
async def test_a_page_that_is_not_dense_is_a_hole(
    log: WatchedLog, name: str, harm: Callable[[WatchedLog], object]
) -> None:
    append(*numbers(1, 10))
    topic = await open_topic()
    harm(log)
    with pytest.raises(Hole):
        await topic.pages.after(3)
