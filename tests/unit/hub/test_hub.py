from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from django_sse.exceptions import LogUnavailable
from django_sse.hub.hub import Hub
from django_sse.hub.registry import get_hub
from django_sse.notifiers import Wakeup
from django_sse.wire import make_epoch
from tests.appending import finish_in
from tests.options import Overrides
from tests.unit.hub.support import (
    TIMEOUT,
    HandNotifier,
    Reader,
    WatchedLog,
    append,
    asked,
    commit,
    commit_elsewhere,
    entries,
    eventually,
    in_ring,
    listening,
    numbers,
    open_topic,
    read_up_to,
    texts,
)

pytestmark = pytest.mark.usefixtures("notifier")


# -- one a loop


async def test_a_loop_has_one_hub() -> None:
    assert get_hub() is get_hub()


def test_every_loop_has_its_own() -> None:
    async def own() -> Hub:
        return get_hub()

    assert asyncio.run(own()) is not asyncio.run(own())


def test_without_a_loop_there_is_no_hub() -> None:
    with pytest.raises(RuntimeError):
        get_hub()


@pytest.fixture
def other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A second loop, which runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(TIMEOUT)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


async def test_two_loops_of_a_process_both_get_every_event(
    other_loop: asyncio.AbstractEventLoop,
) -> None:
    async def read() -> list[str]:
        async with listening("a") as client:
            barrier.wait(TIMEOUT)
            return texts(await client.take(500))

    barrier = threading.Barrier(3)
    here = asyncio.create_task(asyncio.to_thread(barrier.wait, TIMEOUT))
    there = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(read(), other_loop))
    async with listening("a") as client:
        await asyncio.to_thread(barrier.wait, TIMEOUT)
        await here
        await asyncio.to_thread(lambda: [commit("a", number) for number in numbers(1, 500)])
        assert texts(await client.take(500)) == numbers(1, 500)
    assert await there == numbers(1, 500)


async def test_from_any_thread_every_event_arrives_in_the_order_of_the_log(log: WatchedLog) -> None:
    async with listening("a") as client:
        publishers = [
            asyncio.to_thread(lambda: [commit("a", "x") for _ in range(100)]) for _ in range(8)
        ]
        await asyncio.gather(*publishers)
        ids = [event.last_event_id for event in await client.take(800)]
    assert ids == [str(log.position("a", seq)) for seq in range(1, 801)]


# -- opening topics


async def test_streams_of_one_channel_share_its_topic(log: WatchedLog) -> None:
    with log.held("open"):
        opening = [asyncio.create_task(get_hub().topic("a", Reader())) for _ in range(50)]
        await asked(log)
    topics = await asyncio.gather(*opening)
    assert all(topic is topics[0] for topic in topics)
    assert len(topics[0].waiters) == 50
    assert log.heads_opened == ["a"]


async def test_the_head_is_read_after_the_notifier_listens(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    notifier.greets = False
    opening = asyncio.create_task(get_hub().topic("a", Reader()))
    await eventually(lambda: notifier.listeners)
    assert log.heads_opened == []
    notifier.tell(None)
    await opening
    assert log.heads_opened == ["a"]


async def test_a_notifier_that_never_connects_keeps_no_stream_from_opening(
    notifier: HandNotifier,
) -> None:
    notifier.greets = False
    async with asyncio.timeout(TIMEOUT):
        await get_hub().topic("a", Reader())


async def test_what_is_committed_while_the_head_is_read_is_not_missed(log: WatchedLog) -> None:
    with log.held("open"):
        opening = asyncio.create_task(get_hub().topic("a", Reader()))
        await asked(log)
        commit("a", "1", "2")
    topic = await opening
    await read_up_to(topic, 2)
    assert in_ring(topic) == ["1", "2"]


async def test_a_wake_up_while_the_head_is_read_is_not_missed(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    async with listening("b"):
        with log.held("open"):
            opening = asyncio.create_task(get_hub().topic("a", Reader()))
            await asked(log)
            (appended,) = commit_elsewhere("a", "1")
            before = log.head_queries
            notifier.tell(Wakeup("a", *appended.position))
            await eventually(lambda: log.head_queries > before)
        topic = await opening
        await read_up_to(topic, 1)


async def test_a_topic_that_could_not_be_opened_is_opened_by_the_next(log: WatchedLog) -> None:
    log.away = True
    opening = [asyncio.create_task(get_hub().topic("a", Reader())) for _ in range(3)]
    results = await asyncio.gather(*opening, return_exceptions=True)
    assert [type(result) for result in results] == [LogUnavailable] * 3
    assert get_hub().topics == {}
    log.away = False
    assert (await get_hub().topic("a", Reader())).epoch == log.epoch("a")


async def test_a_client_that_leaves_while_a_topic_opens_takes_nobody_along(log: WatchedLog) -> None:
    reader = Reader()
    with log.held("open"):
        leaving, staying = (
            asyncio.create_task(get_hub().topic("a", r)) for r in (Reader(), reader)
        )
        await asked(log)
        leaving.cancel()
    topic = await staying
    assert topic.waiters == {reader}
    assert leaving.cancelled()


# -- wake-ups


async def test_a_wake_up_reads_what_is_new(notifier: HandNotifier) -> None:
    topic = await get_hub().topic("a", Reader())
    (appended,) = commit_elsewhere("a", "1", "2")
    notifier.tell(Wakeup("a", *appended.position))
    await read_up_to(topic, 2)
    assert in_ring(topic) == ["1", "2"]


async def test_a_wake_up_that_tells_nothing_new_asks_the_log_nothing(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    topic = await get_hub().topic("a", Reader())
    (appended,) = commit("a", "1", "2")
    await read_up_to(topic, 2)
    queries = log.queries
    for seq in (2, 1, 0):
        notifier.tell(Wakeup("a", *log.position("a", seq)))
    notifier.tell(Wakeup("a", appended.epoch, -1, "000000"))
    notifier.tell(Wakeup("somebody else's", appended.epoch, 99, "000000"))
    assert topic._catching_up is None
    assert log.queries == queries


async def test_a_wake_up_of_another_epoch_or_of_none_is_compared_with_the_log(
    notifier: HandNotifier,
) -> None:
    topic = await get_hub().topic("a", Reader())
    for number, wakeup in enumerate([Wakeup("a", make_epoch(), 0, "0"), None], start=1):
        commit_elsewhere("a", str(number))
        notifier.tell(wakeup)
        await read_up_to(topic, number)
    assert topic.generation == 0


async def test_a_forged_wake_up_does_not_move_the_topic(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    topic = await get_hub().topic("a", Reader())
    notifier.tell(Wakeup("a", topic.epoch, 2**63 - 1, "000000"))
    await eventually(lambda: topic._catching_up is None and log.reads)
    assert (topic.ring.tail, topic.known, topic.generation) == (0, 0, 0)


# -- comparing with the log


async def test_a_log_that_was_wiped_is_another_log(log: WatchedLog, notifier: HandNotifier) -> None:
    topic = await get_hub().topic("a", Reader())
    commit("a", "1")
    await read_up_to(topic, 1)
    log.clear()
    notifier.tell(None)
    await eventually(lambda: topic.generation)
    assert (topic.reason, topic.epoch, topic.ring.tail) == ("unknown", log.epoch("a"), 0)


async def test_a_rewound_log_is_another_log(log: WatchedLog, notifier: HandNotifier) -> None:
    topic = await get_hub().topic("a", Reader())
    commit("a", "1", "2", "3")
    await read_up_to(topic, 3)
    log.restore("a", 1)
    notifier.tell(None)
    await eventually(lambda: topic.generation)
    assert (topic.reason, topic.epoch, topic.ring.tail) == ("rewound", log.epoch("a"), 1)


@pytest.mark.parametrize("later", [0, 1])
@pytest.mark.parametrize("how", ["told", "vaguely told", "told of a part", "safety poll", "own"])
async def test_a_log_that_was_rewound_and_written_again_is_another_log(
    how: str, later: int, log: WatchedLog, notifier: HandNotifier, configure: Overrides
) -> None:
    configure(SAFETY_INTERVAL=0.02 if how == "safety poll" else 3600.0)
    topic = await get_hub().topic("a", Reader())
    commit("a", "1", "2", "3")
    await read_up_to(topic, 3)
    (appended,) = log.rewrite("a", 2, *numbers(1, 2 + later))
    if how == "told":
        notifier.tell(Wakeup("a", *appended.position))
    elif how == "told of a part":
        notifier.tell(Wakeup("a", *log.position("a", 2)))
    elif how == "vaguely told":
        notifier.tell(None)
    elif how == "own":
        commit("a", "of this process")
    await eventually(lambda: topic.generation)
    await read_up_to(topic, log.position("a").seq)
    assert (topic.reason, topic.generation, topic.newest) == ("rewound", 1, log.position("a")[1:])


async def test_of_many_comparisons_of_a_rewound_log_one_restarts_the_topic(log: WatchedLog) -> None:
    hub = get_hub()
    topic = await hub.topic("a", Reader())
    commit("a", "1", "2", "3")
    await read_up_to(topic, 3)
    log.restore("a", 1)
    await asyncio.gather(*[hub.check(topic) for _ in range(10)])
    assert (topic.generation, topic.epoch) == (1, log.epoch("a"))


async def test_a_commit_during_the_comparison_is_no_rewind(log: WatchedLog) -> None:
    hub = get_hub()
    log.make(["a"])
    topic = await hub.topic("a", Reader())
    commit_elsewhere("a", "1")
    with log.held("heads"):
        checking = asyncio.create_task(hub.check(topic))
        await asked(log)
        commit("a", "2")
        await read_up_to(topic, 2)
    await checking
    assert topic.generation == 0


async def test_a_comparison_that_another_log_overtakes_looks_at_that_log(log: WatchedLog) -> None:
    hub, topic = get_hub(), await open_topic()
    topic.deliver(append("1"))
    log.clear()
    append("2")
    # Too late to compare with the old log, but an event of the new log may have caused it.
    with log.held("heads"):
        comparing = asyncio.create_task(hub.check(topic))
        await asked(log)
        await topic.replaced(0)
        append("3")
    await comparing
    await read_up_to(topic, 2)
    assert (topic.generation, in_ring(topic)) == (1, ["3"])


async def test_a_redaction_in_another_process_empties_the_ring(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    reader = Reader()
    topic = await get_hub().topic("a", reader)
    commit("a", "1", "secret")
    await read_up_to(topic, 2)
    log.redact("a", 2)
    notifier.tell(None)
    await eventually(lambda: reader.forgotten)
    assert in_ring(topic) == []


async def test_the_end_of_a_channel_in_another_process_is_seen(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    topic = await get_hub().topic("a", Reader())
    finish_in(log, entries("a", "unused")[0]._replace(kind=1, state="done"))
    notifier.tell(None)
    await eventually(lambda: topic.terminal == 1 and topic.ring.tail == 1)


async def test_a_comparison_waits_for_a_log_that_is_away(
    log: WatchedLog, caplog: pytest.LogCaptureFixture
) -> None:
    hub = get_hub()
    topic = await hub.topic("a", Reader())
    commit_elsewhere("a", "1")
    log.away = True
    checking = asyncio.create_task(hub.check(topic))
    await eventually(lambda: "waits for the log" in caplog.text)
    log.away = False
    await checking
    await read_up_to(topic, 1)


# -- a channel that was removed


async def test_a_channel_that_nobody_streams_can_be_forgotten() -> None:
    hub = get_hub()
    topic = await hub.topic("a", reader := Reader())
    hub.forget("a")
    # Somebody still streams it.
    assert hub.topics == {"a": topic}
    topic.waiters.discard(reader)
    hub.release([topic])
    hub.forget("a")
    assert hub.topics == {}
    hub.forget("a")
    assert await hub.topic("a", Reader()) is not topic


async def test_a_channel_that_was_removed_is_not_made_again_for_a_topic_without_streams(
    log: WatchedLog,
) -> None:
    hub = get_hub()
    topic = await hub.topic("a", reader := Reader())
    topic.waiters.discard(reader)
    hub.release([topic])
    log.clear()
    await hub.check(topic)
    assert hub.topics == {}
    assert list(log.channels()) == []


async def test_a_topic_that_is_being_opened_is_not_forgotten(log: WatchedLog) -> None:
    hub = get_hub()
    with log.held("open"):
        opening = asyncio.create_task(hub.topic("a", reader := Reader()))
        await asked(log)
        hub.topics["a"].waiters.discard(reader)
        hub.forget("a")
        assert "a" in hub.topics
    assert (await opening).epoch
