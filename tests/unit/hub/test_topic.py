from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from django_sse.exceptions import LogUnavailable
from django_sse.hub.registry import get_hub
from django_sse.hub.topic import Hole, Topic
from django_sse.log.base import Appended
from django_sse.wire import make_epoch
from tests.options import Overrides
from tests.unit.hub.support import (
    Reader,
    WatchedLog,
    asked,
    commit_elsewhere,
    end,
    eventually,
    in_ring,
    numbers,
    read_up_to,
)

pytestmark = pytest.mark.usefixtures("notifier")


async def open_topic(reader: Reader | None = None) -> Topic:
    """The live side of channel "a", as a stream joins it."""
    return await get_hub().topic("a", reader or Reader())


def append(*data: str) -> Appended:
    """A commit of this process that is on its way to the topic."""
    (appended,) = commit_elsewhere("a", *data)
    return appended


async def due_timers() -> None:
    """Returns when the timers that are due by now have run."""
    loop = asyncio.get_running_loop()
    run = loop.create_future()
    loop.call_later(0, run.set_result, None)
    await run


# -- at the start


async def test_a_new_topic_stands_at_the_head_and_has_read_no_event(log: WatchedLog) -> None:
    append(*numbers(1, 3))
    topic = await open_topic()
    assert (topic.epoch, topic.ring.start, topic.ring.tail) == (log.epoch("a"), 3, 3)
    assert (topic.known, topic.terminal, log.reads) == (3, None, [])


async def test_a_new_topic_of_a_finished_channel_knows_its_end() -> None:
    append("1")
    end("a")
    assert (await open_topic()).terminal == 2


# -- what this process commits


async def test_what_is_delivered_is_not_read_from_the_log(log: WatchedLog) -> None:
    reader = Reader()
    topic = await open_topic(reader)
    topic.deliver(append("1", "2"))
    topic.deliver(append("3"))
    assert in_ring(topic) == ["1", "2", "3"]
    assert (reader.wakes, log.reads) == (1, [])


@pytest.mark.options(GAP_WAIT=600.0)
async def test_two_threads_whose_commits_arrive_in_the_other_order_cost_no_read(
    log: WatchedLog,
) -> None:
    topic = await open_topic()
    first, second, third = append("1"), append("2", "3"), append("4")
    for late in (third, second):
        topic.deliver(late)
    assert in_ring(topic) == []
    topic.deliver(first)
    assert in_ring(topic) == numbers(1, 4)
    assert log.reads == []


async def test_what_never_arrives_is_read_from_the_log(log: WatchedLog) -> None:
    topic = await open_topic()
    append("1", "2")
    topic.deliver(append("3"))
    await read_up_to(topic, 3)
    assert in_ring(topic) == numbers(1, 3)
    assert log.reads[0] == 0


async def test_what_arrives_while_the_gap_is_read_comes_once(log: WatchedLog) -> None:
    topic = await open_topic()
    first, second = append("1", "2"), append("3")
    with log.held():
        topic.expect(3)
        await asked(log)
        topic.deliver(first)
        topic.deliver(second)
        topic.deliver(append("4"))
    await read_up_to(topic, 4)
    assert in_ring(topic) == numbers(1, 4)


async def test_a_doubled_delivery_comes_once(log: WatchedLog) -> None:
    reader = Reader()
    topic = await open_topic(reader)
    appended = append("1", "2")
    topic.deliver(appended)
    topic.deliver(appended)
    assert in_ring(topic) == ["1", "2"]
    assert (reader.wakes, log.reads) == (1, [])


async def test_of_a_delivery_that_was_read_in_part_the_rest_is_taken(log: WatchedLog) -> None:
    topic = await open_topic()
    appended = append("1", "2", "3")
    log.missing = {2, 3}
    topic.look()
    await read_up_to(topic, 1)
    topic.deliver(appended)
    assert in_ring(topic) == numbers(1, 3)


async def test_a_delivery_of_another_epoch_is_compared_with_the_log(log: WatchedLog) -> None:
    topic = await open_topic()
    before = log.head_queries
    topic.deliver(replace(append("1"), epoch=make_epoch()))
    await read_up_to(topic, 1)
    assert in_ring(topic) == ["1"]
    assert log.head_queries > before
    assert topic.generation == 0


async def test_a_delivered_end_is_known(log: WatchedLog) -> None:
    topic = await open_topic()
    end("a")
    await eventually(lambda: topic.terminal)
    assert (topic.terminal, log.reads) == (1, [])


# -- catching up


async def test_a_false_hint_costs_one_read_and_nothing_else(log: WatchedLog) -> None:
    append("1")
    reader = Reader()
    topic = await open_topic(reader)
    queries = log.queries
    topic.look()
    await eventually(lambda: topic._catching_up is None)
    assert (log.queries - queries, log.reads) == (1, [1])
    assert (topic.ring.tail, topic.generation, reader.wakes) == (1, 0, 0)


async def test_a_hint_that_is_true_costs_one_read(log: WatchedLog) -> None:
    topic = await open_topic()
    append("1", "2", "3")
    topic.look(3)
    await eventually(lambda: topic._catching_up is None)
    assert in_ring(topic) == ["1", "2", "3"]
    assert log.reads == [0]


async def test_hints_during_a_read_are_one_more_read(log: WatchedLog) -> None:
    topic = await open_topic()
    with log.held():
        topic.look()
        await asked(log)
        for _ in range(100):
            topic.look()
    await eventually(lambda: topic._catching_up is None)
    assert log.reads == [0, 0]


@pytest.mark.options(RING_EVENTS=10)
async def test_events_that_the_ring_cannot_hold_are_not_read_to_fill_it(log: WatchedLog) -> None:
    topic = await open_topic()
    append(*numbers(1, 1000))
    topic.expect(1000)
    await read_up_to(topic, 1000)
    assert in_ring(topic) == numbers(991, 1000)
    assert log.reads[0] == 990


@pytest.mark.options(PAGE_EVENTS=100)
async def test_pages_that_the_log_cuts_short_are_followed_by_the_next(log: WatchedLog) -> None:
    topic = await open_topic()
    append(*["x" * (100 << 10)] * 20)
    topic.look()
    await read_up_to(topic, 20)
    assert len(log.reads) > 5


async def test_a_log_that_is_away_is_waited_for(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await open_topic()
    append("1")
    log.away = True
    topic.look()
    await eventually(lambda: "wait for the log" in caplog.text)
    log.away = False
    await read_up_to(topic, 1)
    assert in_ring(topic) == ["1"]


async def test_a_read_that_fails_in_another_way_is_logged_and_tried_again(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await open_topic()
    append("1")
    log.failures = [ValueError("a row that makes no sense")]
    topic.look()
    await read_up_to(topic, 1)
    assert "a row that makes no sense" in caplog.text
    assert "'a' could not catch up" in caplog.text


async def test_what_was_trimmed_behind_the_tail_is_stepped_over(log: WatchedLog) -> None:
    topic = await open_topic()
    append(*numbers(1, 10))
    log.trim("a", count=3)
    topic.look()
    await read_up_to(topic, 10)
    assert in_ring(topic) == numbers(8, 10)
    assert topic.generation == 0


async def test_a_channel_that_was_trimmed_to_its_end_is_at_its_head(log: WatchedLog) -> None:
    topic = await open_topic()
    append(*numbers(1, 10))
    log.trim("a", count=0)
    topic.expect(10)
    await read_up_to(topic, 10)
    assert (in_ring(topic), topic.generation) == ([], 0)


async def test_a_hole_in_the_middle_is_stepped_over(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await open_topic()
    append(*numbers(1, 10))
    log.missing = {5, 6}
    topic.look()
    await read_up_to(topic, 10)
    assert in_ring(topic) == numbers(7, 10)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# -- replay


@pytest.mark.options(RING_EVENTS=1)
async def test_all_who_wait_for_a_page_share_one_read(log: WatchedLog) -> None:
    append(*numbers(1, 10))
    topic = await open_topic()
    with log.held():
        readers = [asyncio.create_task(topic.page(3)) for _ in range(50)]
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
        leaving, staying = (asyncio.create_task(topic.page(3)) for _ in range(2))
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
async def test_a_page_that_another_way_was_faster_than_is_not_the_end(log: WatchedLog) -> None:
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
    assert (await topic.page(150)).frames == []
    assert in_ring(topic) == numbers(1, 200)


async def test_a_thousand_readers_at_different_places_are_a_few_reads(log: WatchedLog) -> None:
    append(*numbers(1, 1000))
    topic = await open_topic()
    pages = await asyncio.gather(*[topic.page(after) for after in range(1000)])
    assert [page.frames for page in pages] == [[]] * 1000
    assert in_ring(topic) == numbers(1, 1000)
    assert len(log.reads) <= 1 + 1000 // 64


@pytest.mark.options(RING_BYTES=10_000, PAGE_EVENTS=500)
async def test_a_ring_is_filled_with_the_newest_that_it_can_hold(log: WatchedLog) -> None:
    append(*["x" * 960] * 1000)
    topic = await open_topic()
    page = await topic.page(980)
    assert page.frames[0].seq == 981
    assert len(in_ring(topic)) == 10
    assert len(log.reads) <= 3


@pytest.mark.options(RING_EVENTS=10)
async def test_a_reader_far_behind_does_not_wait_for_the_ring(log: WatchedLog) -> None:
    append(*numbers(1, 1000))
    topic = await open_topic()
    assert (await topic.page(500)).frames[0].seq == 501
    assert log.reads == [500]


async def test_a_page_is_not_read_where_the_ring_reaches(log: WatchedLog) -> None:
    topic = await open_topic()
    topic.deliver(append("1", "2"))
    assert (await topic.page(1)).frames == []
    assert log.reads == []


@pytest.mark.options(RING_EVENTS=1)
async def test_a_page_is_read_however_long_the_log_is_away(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    append(*numbers(1, 10))
    topic = await open_topic()
    log.away = True
    reader = asyncio.create_task(topic.page(3))
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
        await topic.page(3)


# -- another log


async def test_a_restart_drops_the_ring_and_wakes_everyone(log: WatchedLog) -> None:
    reader = Reader()
    topic = await open_topic(reader)
    topic.deliver(append(*numbers(1, 10)))
    log.clear()
    append("other")
    wakes = reader.wakes
    (head,) = log.open(["a"])
    topic.restart(head, "unknown")
    assert (topic.generation, topic.reason, topic.epoch) == (1, "unknown", log.epoch("a"))
    assert (topic.ring.start, topic.ring.tail, topic.known) == (1, 1, 1)
    await eventually(lambda: reader.wakes == wakes + 1)


async def test_a_read_of_the_old_log_does_not_reach_the_new_one(log: WatchedLog) -> None:
    topic = await open_topic()
    append(*numbers(1, 10))
    with log.held():
        topic.look()
        await asked(log)
        log.clear()
        append("other")
        (head,) = log.open(["a"])
        topic.restart(head, "unknown")
    topic.deliver(append("new"))
    await eventually(lambda: topic._catching_up is None)
    assert in_ring(topic) == ["new"]


@pytest.mark.options(GAP_WAIT=0.0)
async def test_a_late_commit_of_the_old_log_does_not_rewind_the_new_one(log: WatchedLog) -> None:
    topic = await open_topic()
    append(*numbers(1, 10))
    topic.deliver(append("11"))
    log.clear()
    append("other")
    (head,) = log.open(["a"])
    topic.restart(head, "unknown")
    epoch = log.epoch("a")
    await due_timers()
    topic.deliver(append("new"))
    await eventually(lambda: topic._catching_up is None)
    assert (log.epoch("a"), topic.generation) == (epoch, 1)
    assert in_ring(topic) == ["new"]


# -- redaction


async def test_redaction_empties_the_ring_and_the_readers(log: WatchedLog) -> None:
    reader = Reader()
    topic = await open_topic(reader)
    topic.deliver(append("1", "secret", "3"))
    log.redact("a", 2)
    topic.forget_frames(1)
    assert (in_ring(topic), topic.ring.tail, reader.forgotten) == ([], 3, 1)
    assert (await topic.page(0)).frames == []
    assert in_ring(topic) == ["1", "3"]


async def test_what_was_being_read_for_the_ring_before_a_redaction_stays_out(
    log: WatchedLog,
) -> None:
    append("1", "secret", "3")
    topic = await open_topic()
    with log.held():
        reader = asyncio.create_task(topic.page(0))
        await asked(log)
        log.redact("a", 2)
        topic.forget_frames(1)
    page = await reader
    assert b"secret" not in b"".join(frame.data for frame in page.frames)
    assert "secret" not in in_ring(topic)


@pytest.mark.options(RING_EVENTS=1)
async def test_a_page_that_was_being_read_before_a_redaction_is_read_again(log: WatchedLog) -> None:
    append(*numbers(1, 10), "secret", "12")
    topic = await open_topic()
    with log.held():
        reader = asyncio.create_task(topic.page(0))
        await asked(log)
        log.redact("a", 11)
        topic.forget_frames(1)
    page = await reader
    assert page.frames
    assert b"secret" not in b"".join(frame.data for frame in page.frames)


async def test_a_gap_that_was_being_read_before_a_redaction_is_read_again(log: WatchedLog) -> None:
    topic = await open_topic()
    append("1", "secret", "3")
    with log.held():
        topic.look()
        await asked(log)
        log.redact("a", 2)
        topic.forget_frames(1)
    await read_up_to(topic, 3)
    assert in_ring(topic) == ["1", "3"]


# -- waking


@pytest.mark.parametrize(("interval", "wakes"), [(600.0, 1), (0.0, 100)])
async def test_under_load_wakes_are_one_per_interval(
    interval: float, wakes: int, constants: Overrides
) -> None:
    constants(COALESCE=interval)
    reader = Reader()
    topic = await open_topic(reader)
    for number in numbers(1, 100):
        topic.deliver(append(number))
    assert in_ring(topic) == numbers(1, 100)
    assert reader.wakes == wakes


async def test_the_last_of_a_burst_is_not_forgotten() -> None:
    reader = Reader()
    topic = await open_topic(reader)
    for number in numbers(1, 100):
        topic.deliver(append(number))
    assert reader.wakes == 1
    await reader.woken()
    assert reader.wakes == 2


async def test_a_topic_cannot_be_opened_while_the_log_is_away(log: WatchedLog) -> None:
    log.away = True
    with pytest.raises(LogUnavailable):
        await open_topic()
