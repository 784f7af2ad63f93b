"""The tasks that all streams of a hub share, and when they begin and end."""

from __future__ import annotations

import asyncio

import pytest

from django_sse.hub.hub import Hub
from django_sse.hub.registry import get_hub
from django_sse.log import get_log
from django_sse.notifiers import Wakeup
from tests.appending import append_to
from tests.options import Overrides
from tests.unit.hub.support import (
    TIMEOUT,
    HandNotifier,
    Reader,
    WatchedLog,
    commit,
    commit_elsewhere,
    end,
    entries,
    eventually,
    listening,
    numbers,
    read_up_to,
    texts,
)

pytestmark = pytest.mark.usefixtures("notifier")


async def alone() -> None:
    """Return once no other task of this loop is left."""
    current = asyncio.current_task()
    async with asyncio.timeout(TIMEOUT):
        while others := asyncio.all_tasks() - {current}:
            await asyncio.wait(others)


# -- the safety poll


@pytest.mark.parametrize(
    ("path", "complains"),
    [
        ("tests.unit.hub.support.HandNotifier", True),
        ("tests.unit.hub.support.PollingNotifier", False),
        ("django_sse.notifiers.local.LocalNotifier", False),
    ],
)
async def test_the_safety_poll_finds_what_nobody_told_and_says_so_where_that_is_a_fault(
    configure: Overrides, path: str, complains: bool, caplog: pytest.LogCaptureFixture
) -> None:
    configure(SAFETY_INTERVAL=0.01, NOTIFIER=path)
    topic = await get_hub().topic("a", Reader())
    commit_elsewhere("a", "1")
    await read_up_to(topic, 1)
    complaint = "events of channel 'a' that HandNotifier did not tell of"
    assert (complaint in caplog.text, "did not tell of" in caplog.text) == (complains, complains)


@pytest.mark.options(SAFETY_INTERVAL=0.01)
async def test_a_wake_up_that_comes_after_the_safety_poll_is_no_repair(
    log: WatchedLog, notifier: HandNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await get_hub().topic("a", Reader())
    queries = log.head_queries
    (appended,) = commit_elsewhere("a", "1")
    await eventually(lambda: log.head_queries > queries + 1)
    notifier.tell(Wakeup("a", *appended.position))
    await read_up_to(topic, 1)
    assert "did not tell of" not in caplog.text


@pytest.mark.options(SAFETY_INTERVAL=0.05)
async def test_the_safety_poll_is_one_query_for_all_topics_and_one_for_all_orphans(
    log: WatchedLog,
) -> None:
    for channel in numbers(1, 50):
        await get_hub().topic(channel, Reader())
    heads, orphans = log.head_queries, log.orphan_queries
    await eventually(lambda: log.orphan_queries >= orphans + 5)
    # The poll that is going on, or the one before, may be half done.
    assert abs((log.head_queries - heads) - (log.orphan_queries - orphans)) <= 1


# -- tasks that die


@pytest.mark.parametrize(
    "failure",
    [RuntimeError("the transport is away"), asyncio.CancelledError("the transport is away")],
    ids=["error", "cancellation"],
)
async def test_a_notifier_that_fails_is_listened_to_again(
    failure: BaseException, notifier: HandNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    notifier.failures = [failure]
    topic = await get_hub().topic("a", Reader())
    await eventually(lambda: notifier.listeners)
    assert "_listen died. It will be restarted" in caplog.text
    assert "the transport is away" in caplog.text
    commit_elsewhere("a", "1")
    notifier.tell(None)
    await read_up_to(topic, 1)


async def test_what_came_while_the_notifier_was_away_is_found_when_it_is_back(
    notifier: HandNotifier,
) -> None:
    topic = await get_hub().topic("a", Reader())
    notifier.fail(RuntimeError("the transport is away"))
    notifier.greets = False
    commit_elsewhere("a", "1")
    await read_up_to(topic, 1)
    assert notifier.listens == 2


async def test_a_comparison_that_fails_is_logged_and_made_again(
    log: WatchedLog, notifier: HandNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await get_hub().topic("a", Reader())
    for seq in (1, 2):
        commit_elsewhere("a", "x")
        log.failures = [ValueError("a row that makes no sense")]
        notifier.tell(None)
        await read_up_to(topic, seq)
        assert caplog.text.count("_check died. It will be restarted") == seq


@pytest.mark.options(SAFETY_INTERVAL=0.01)
async def test_a_safety_poll_that_fails_is_started_again(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    await get_hub().topic("a", Reader())
    log.failures = [ValueError("a row that makes no sense")]
    await eventually(lambda: "_safety_poll died. It will be restarted" in caplog.text)
    before = log.orphan_queries
    await eventually(lambda: log.orphan_queries > before)


@pytest.mark.options(SAFETY_INTERVAL=0.01)
async def test_a_log_that_is_away_is_a_warning_without_a_traceback(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await get_hub().topic("a", Reader())
    log.away = True
    await eventually(lambda: "_safety_poll waits for the log" in caplog.text)
    assert [each for each in caplog.records if each.levelname != "WARNING" or each.exc_info] == []
    log.away = False
    commit_elsewhere("a", "1")
    await read_up_to(topic, 1)


# -- when nothing is left


@pytest.mark.options(HEARTBEAT=0.02, TOPIC_LINGER=0.05)
async def test_a_topic_without_streams_is_dropped_after_a_while() -> None:
    async with listening("b"):
        async with listening("a"):
            pass
        await eventually(lambda: list(get_hub().topics) == ["b"])


async def test_a_stream_that_comes_back_in_time_finds_the_ring(log: WatchedLog) -> None:
    async with listening("a") as client:
        commit("a", *numbers(1, 100))
        await client.take(100)
    reads = len(log.reads)
    async with listening("a", since=str(log.position("a", 50))) as client:
        assert texts(await client.take(50)) == numbers(51, 100)
    assert len(log.reads) == reads


@pytest.mark.options(HEARTBEAT=0.02, TOPIC_LINGER=0.0)
async def test_with_the_last_stream_the_hub_stops(notifier: HandNotifier) -> None:
    async with listening("a", "b"):
        assert len(asyncio.all_tasks()) >= 5
    await eventually(lambda: not get_hub().topics)
    await alone()
    assert notifier.listeners == []


@pytest.mark.options(HEARTBEAT=0.02, TOPIC_LINGER=0.0)
async def test_after_it_has_stopped_the_next_stream_starts_it_again(notifier: HandNotifier) -> None:
    for number in numbers(1, 3):
        async with listening("a") as client:
            (appended,) = commit_elsewhere("a", number)
            notifier.tell(Wakeup("a", *appended.position))
            assert texts([await client.next()]) == [number]
        await alone()


async def test_what_nobody_streams_is_not_kept() -> None:
    hub = get_hub()
    async with listening("a"):
        hub.deliver(append_to(get_log(), entries("b", "1")))
        assert not hub._inbox


async def test_the_hub_of_a_closed_loop_takes_everything_in_silence() -> None:
    async def use() -> Hub:
        await get_hub().topic("a", Reader())
        return get_hub()

    hub = await asyncio.to_thread(asyncio.run, use())
    hub.deliver(commit_elsewhere("a", "1"))
    hub.check_soon()


@pytest.mark.options(HEARTBEAT=0.02, TOPIC_LINGER=0.0)
async def test_a_finished_channel_costs_no_topic_for_ever() -> None:
    async with listening("a") as client:
        end("a")
        assert texts(await client.rest()) == ["[DONE]"]
        await eventually(lambda: get_hub().topics == {})
