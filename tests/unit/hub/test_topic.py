from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from django_sse.exceptions import LogUnavailable
from django_sse.wire import make_epoch
from tests.options import Overrides
from tests.unit.hub.support import (
    Reader,
    WatchedLog,
    append,
    asked,
    end,
    eventually,
    in_ring,
    numbers,
    open_topic,
    read_up_to,
)

pytestmark = pytest.mark.usefixtures("notifier")


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


async def test_of_two_commits_that_tell_of_another_log_only_the_first_resets_and_both_arrive(
    log: WatchedLog,
) -> None:
    topic = await open_topic()
    topic.deliver(append("1", "2"))
    log.restore("a", 0)
    first = append("other 1")
    (head,) = log.open(["a"])
    topic.deliver(first)
    topic.deliver(append("other 2"))
    # The query for the first commit was answered before the one for the second.
    topic.restart(head, "rewound")
    await eventually(lambda: topic.ring.tail == 2)
    assert in_ring(topic) == ["other 2"]
    commit = append("other 3")
    topic.deliver(commit)
    await eventually(lambda: topic.ring.tail == 3)
    assert (topic.generation, in_ring(topic)) == (1, ["other 2", "other 3"])


@pytest.mark.parametrize("in_memory", [0, 2])
async def test_a_commit_that_overtakes_the_ring_of_a_rewound_log_is_of_another_log(
    log: WatchedLog, in_memory: int
) -> None:
    append(*numbers(1, 8))
    topic = await open_topic()
    for number in range(in_memory):
        topic.deliver(append(f"old {number}"))
    log.restore("a", 5)
    # The ring does not have its first event.
    topic.deliver(append(*numbers(6, 12)))
    await eventually(lambda: topic.generation == 1)
    assert (topic.reason, *topic.newest) == ("rewound", 12, log.position("a").tag)


async def test_a_page_of_a_rewound_log_does_not_go_on_from_what_came_while_it_was_read(
    log: WatchedLog,
) -> None:
    append("1")
    topic = await open_topic()
    late = append("2")
    log.restore("a", 1)
    append("other 2", "other 3")
    with log.held():
        topic.look()
        await asked(log)
        topic.deliver(late)
    await eventually(lambda: topic.generation == 1)
    assert topic.newest == (3, log.position("a").tag)


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
    assert (await topic.pages.after(0)).frames == []
    assert in_ring(topic) == ["1", "3"]


async def test_what_was_being_read_for_the_ring_before_a_redaction_stays_out(
    log: WatchedLog,
) -> None:
    append("1", "secret", "3")
    topic = await open_topic()
    with log.held():
        reader = asyncio.create_task(topic.pages.after(0))
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
        reader = asyncio.create_task(topic.pages.after(0))
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
