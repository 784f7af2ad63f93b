from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from django_sse.exceptions import LogUnavailable
from django_sse.hub.hub import Hub, get_hub
from django_sse.hub.stream import Stream
from django_sse.hub.topic import Topic
from django_sse.log import get_log
from django_sse.log.base import Appended
from django_sse.notifiers import Wakeup
from django_sse.wire import HEARTBEAT, Decoder, make_epoch
from tests.hub.support import (
    TIMEOUT,
    Client,
    HandNotifier,
    Reader,
    WatchedLog,
    asked,
    commit,
    commit_elsewhere,
    end,
    entries,
    eventually,
    listening,
    numbers,
    texts,
)

Configure = Callable[..., None]


def in_ring(topic: Topic) -> list[str]:
    frames = topic.ring.frames(topic.ring.start)
    return [event.data for event in Decoder().feed(b"".join(frame.data for frame in frames))]


class Silent(Stream):
    """A stream that never has anything to send."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = 0

    async def _start(self) -> None:
        self.attach(get_hub())

    def _take(self) -> bytes:
        return b""

    def _end(self) -> None:
        self.ended += 1


async def others() -> set[asyncio.Task[object]]:
    """The tasks of this loop besides the test's own."""
    current = asyncio.current_task()
    assert current is not None
    return asyncio.all_tasks() - {current}


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
    log: WatchedLog, notifier: HandNotifier, other_loop: asyncio.AbstractEventLoop
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


async def test_from_any_thread_every_event_arrives_in_the_order_of_the_log(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    async with listening("a") as client:
        publishers = [
            asyncio.to_thread(lambda: [commit("a", "x") for _ in range(100)]) for _ in range(8)
        ]
        await asyncio.gather(*publishers)
        ids = [event.last_event_id for event in await client.take(800)]
    assert ids == [f"{log.epoch('a')}-{seq}" for seq in range(1, 801)]


# -- opening topics


async def test_streams_of_one_channel_share_its_topic(
    log: WatchedLog, notifier: HandNotifier
) -> None:
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
    log: WatchedLog, notifier: HandNotifier
) -> None:
    notifier.greets = False
    async with asyncio.timeout(TIMEOUT):
        await get_hub().topic("a", Reader())


async def test_what_is_committed_while_the_head_is_read_is_not_missed(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    with log.held("open"):
        opening = asyncio.create_task(get_hub().topic("a", Reader()))
        await asked(log)
        commit("a", "1", "2")
    topic = await opening
    await eventually(lambda: topic.ring.tail == 2)
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
            notifier.tell(Wakeup("a", appended.epoch, 1))
            await eventually(lambda: log.head_queries > before)
        topic = await opening
        await eventually(lambda: topic.ring.tail == 1)


async def test_a_topic_that_could_not_be_opened_is_opened_by_the_next(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    log.away = True
    opening = [asyncio.create_task(get_hub().topic("a", Reader())) for _ in range(3)]
    results = await asyncio.gather(*opening, return_exceptions=True)
    assert [type(result) for result in results] == [LogUnavailable] * 3
    assert get_hub().topics == {}
    log.away = False
    assert (await get_hub().topic("a", Reader())).epoch == log.epoch("a")


async def test_a_client_that_leaves_while_a_topic_opens_takes_nobody_along(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    reader = Reader()
    with log.held("open"):
        leaving, staying = (asyncio.create_task(get_hub().topic("a", r)) for r in (Reader(), reader))
        await asked(log)
        leaving.cancel()
    topic = await staying
    assert topic.waiters == {reader}
    assert leaving.cancelled()


# -- wake-ups


async def test_a_wake_up_reads_what_is_new(log: WatchedLog, notifier: HandNotifier) -> None:
    topic = await get_hub().topic("a", Reader())
    (appended,) = commit_elsewhere("a", "1", "2")
    notifier.tell(Wakeup("a", appended.epoch, 2))
    await eventually(lambda: topic.ring.tail == 2)
    assert in_ring(topic) == ["1", "2"]


async def test_a_wake_up_that_tells_nothing_new_asks_the_log_nothing(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    topic = await get_hub().topic("a", Reader())
    (appended,) = commit("a", "1", "2")
    await eventually(lambda: topic.ring.tail == 2)
    queries = log.queries
    for seq in (2, 1, 0, -1):
        notifier.tell(Wakeup("a", appended.epoch, seq))
    notifier.tell(Wakeup("somebody else's", appended.epoch, 99))
    assert topic._catching_up is None
    assert log.queries == queries


async def test_a_wake_up_of_another_epoch_or_of_none_is_compared_with_the_log(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    topic = await get_hub().topic("a", Reader())
    for number, wakeup in enumerate([Wakeup("a", make_epoch(), 0), None], start=1):
        commit_elsewhere("a", str(number))
        notifier.tell(wakeup)
        await eventually(lambda number=number: topic.ring.tail == number)
    assert topic.generation == 0


async def test_a_forged_wake_up_does_not_move_the_topic(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    topic = await get_hub().topic("a", Reader())
    notifier.tell(Wakeup("a", topic.epoch, 2**63 - 1))
    await eventually(lambda: topic._catching_up is None and log.reads)
    assert (topic.ring.tail, topic.known, topic.generation) == (0, 0, 0)


# -- comparing with the log


async def test_a_log_that_was_wiped_is_another_log(log: WatchedLog, notifier: HandNotifier) -> None:
    topic = await get_hub().topic("a", Reader())
    commit("a", "1")
    await eventually(lambda: topic.ring.tail == 1)
    log.clear()
    notifier.tell(None)
    await eventually(lambda: topic.generation)
    assert (topic.reason, topic.epoch, topic.ring.tail) == ("unknown", log.epoch("a"), 0)


async def test_a_rewound_log_gets_a_new_epoch(log: WatchedLog, notifier: HandNotifier) -> None:
    topic = await get_hub().topic("a", Reader())
    (appended,) = commit("a", "1", "2", "3")
    await eventually(lambda: topic.ring.tail == 3)
    log.restore("a", 1)
    notifier.tell(None)
    await eventually(lambda: topic.generation)
    assert log.epoch("a") != appended.epoch
    assert (topic.reason, topic.epoch, topic.ring.tail) == ("rewound", log.epoch("a"), 1)


async def test_of_many_comparisons_of_a_rewound_log_one_rotates(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    hub = get_hub()
    topic = await hub.topic("a", Reader())
    commit("a", "1", "2", "3")
    await eventually(lambda: topic.ring.tail == 3)
    log.restore("a", 1)
    await asyncio.gather(*[hub.check(topic) for _ in range(10)])
    assert (topic.generation, topic.epoch) == (1, log.epoch("a"))


async def test_a_commit_during_the_comparison_is_no_rewind(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    hub = get_hub()
    topic = await hub.topic("a", Reader())
    commit_elsewhere("a", "1")
    with log.held("heads"):
        checking = asyncio.create_task(hub.check(topic))
        await asked(log)
        commit("a", "2")
        await eventually(lambda: topic.ring.tail == 2)
    await checking
    assert topic.generation == 0


async def test_a_redaction_in_another_process_empties_the_ring(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    reader = Reader()
    topic = await get_hub().topic("a", reader)
    commit("a", "1", "secret")
    await eventually(lambda: topic.ring.tail == 2)
    log.redact("a", 2)
    notifier.tell(None)
    await eventually(lambda: reader.forgotten)
    assert in_ring(topic) == []


async def test_the_end_of_a_channel_in_another_process_is_seen(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    topic = await get_hub().topic("a", Reader())
    log.finish(entries("a", "unused")[0]._replace(kind=1, state="done"))
    notifier.tell(None)
    await eventually(lambda: topic.terminal == 1 and topic.ring.tail == 1)


async def test_a_comparison_waits_for_a_log_that_is_away(
    log: WatchedLog, notifier: HandNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    hub = get_hub()
    topic = await hub.topic("a", Reader())
    commit_elsewhere("a", "1")
    log.away = True
    checking = asyncio.create_task(hub.check(topic))
    await eventually(lambda: "waits for the log" in caplog.text)
    log.away = False
    await checking
    await eventually(lambda: topic.ring.tail == 1)


# -- the safety poll


async def test_the_safety_poll_finds_what_nobody_told_and_says_so(
    log: WatchedLog,
    notifier: HandNotifier,
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(SAFETY_INTERVAL=0.01)
    topic = await get_hub().topic("a", Reader())
    commit_elsewhere("a", "1")
    await eventually(lambda: topic.ring.tail == 1)
    assert "events of channel 'a' that HandNotifier did not tell of" in caplog.text


@pytest.mark.parametrize(
    "path", ["tests.hub.support.PollingNotifier", "django_sse.notifiers.local.LocalNotifier"]
)
async def test_of_a_notifier_that_is_not_told_the_safety_poll_does_not_complain(
    log: WatchedLog, configure: Configure, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    configure(SAFETY_INTERVAL=0.01, NOTIFIER=path)
    topic = await get_hub().topic("a", Reader())
    commit_elsewhere("a", "1")
    await eventually(lambda: topic.ring.tail == 1)
    assert "did not tell of" not in caplog.text


async def test_a_wake_up_that_comes_after_the_safety_poll_is_no_repair(
    log: WatchedLog,
    notifier: HandNotifier,
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(SAFETY_INTERVAL=0.01)
    topic = await get_hub().topic("a", Reader())
    queries = log.head_queries
    (appended,) = commit_elsewhere("a", "1")
    await eventually(lambda: log.head_queries > queries + 1)
    notifier.tell(Wakeup("a", appended.epoch, 1))
    await eventually(lambda: topic.ring.tail == 1)
    assert "did not tell of" not in caplog.text


async def test_the_safety_poll_is_one_query_for_all_topics_and_one_for_all_orphans(
    log: WatchedLog, notifier: HandNotifier, configure: Configure
) -> None:
    configure(SAFETY_INTERVAL=0.2)
    for channel in numbers(1, 50):
        await get_hub().topic(channel, Reader())
    heads, orphans = log.head_queries, log.orphan_queries
    await eventually(lambda: log.orphan_queries == orphans + 1)
    await eventually(lambda: log.head_queries > heads)
    assert log.head_queries <= heads + 2
    assert log.orphan_queries == orphans + 1


# -- heartbeats


async def test_silent_streams_get_a_heartbeat_from_the_hub(
    log: WatchedLog, notifier: HandNotifier, configure: Configure
) -> None:
    configure(HEARTBEAT=0.02)
    streams = [Silent() for _ in range(20)]
    chunks = await asyncio.gather(*[anext(stream) for stream in streams])
    assert chunks == [HEARTBEAT] * 20
    for stream in streams:
        stream.close()


async def test_more_streams_than_are_beaten_in_one_turn_all_get_their_heartbeat(
    log: WatchedLog, notifier: HandNotifier, configure: Configure
) -> None:
    configure(HEARTBEAT=0.02)
    streams = [Silent() for _ in range(1201)]
    chunks = await asyncio.gather(*[anext(stream) for stream in streams])
    assert chunks == [HEARTBEAT] * 1201
    for stream in streams:
        stream.close()


async def test_a_stream_that_leaves_during_the_tick_disturbs_nobody(
    log: WatchedLog, notifier: HandNotifier, configure: Configure
) -> None:
    configure(HEARTBEAT=0.02)
    streams = [Silent() for _ in range(1201)]
    reads = [asyncio.create_task(Client(stream).chunk()) for stream in streams]
    await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
    for stream in streams[::2]:
        stream.close()
    results = await asyncio.gather(*reads, return_exceptions=True)
    assert results[1::2] == [HEARTBEAT] * 600
    for stream in streams:
        stream.close()


# -- tasks that die


async def test_a_notifier_that_fails_is_listened_to_again(
    log: WatchedLog, notifier: HandNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    notifier.failures = [RuntimeError("the transport is away")]
    topic = await get_hub().topic("a", Reader())
    await eventually(lambda: notifier.listeners)
    assert "_listen died and is started again" in caplog.text
    assert "the transport is away" in caplog.text
    commit_elsewhere("a", "1")
    notifier.tell(None)
    await eventually(lambda: topic.ring.tail == 1)


async def test_what_came_while_the_notifier_was_away_is_found_when_it_is_back(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    topic = await get_hub().topic("a", Reader())
    notifier.fail(RuntimeError("the transport is away"))
    notifier.greets = False
    commit_elsewhere("a", "1")
    await eventually(lambda: topic.ring.tail == 1)
    assert notifier.listens == 2


async def test_a_comparison_that_fails_is_logged_and_the_next_is_made(
    log: WatchedLog, notifier: HandNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await get_hub().topic("a", Reader())
    log.failures = [ValueError("a row that makes no sense")]
    notifier.tell(None)
    await eventually(lambda: "_check died and is started again" in caplog.text)
    commit_elsewhere("a", "1")
    notifier.tell(None)
    await eventually(lambda: topic.ring.tail == 1)


async def test_a_comparison_that_failed_is_made_up_for(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    topic = await get_hub().topic("a", Reader())
    commit_elsewhere("a", "1")
    log.failures = [ValueError("a row that makes no sense")]
    notifier.tell(None)
    await eventually(lambda: topic.ring.tail == 1)


async def test_a_safety_poll_that_fails_is_started_again(
    log: WatchedLog,
    notifier: HandNotifier,
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(SAFETY_INTERVAL=0.01)
    await get_hub().topic("a", Reader())
    log.failures = [ValueError("a row that makes no sense")]
    await eventually(lambda: "_safety_poll died and is started again" in caplog.text)
    before = log.orphan_queries
    await eventually(lambda: log.orphan_queries > before)


async def test_a_log_that_is_away_is_a_warning_without_a_traceback(
    log: WatchedLog,
    notifier: HandNotifier,
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(SAFETY_INTERVAL=0.01)
    topic = await get_hub().topic("a", Reader())
    log.away = True
    await eventually(lambda: "_safety_poll waits for the log" in caplog.text)
    assert [each for each in caplog.records if each.levelname != "WARNING" or each.exc_info] == []
    log.away = False
    commit_elsewhere("a", "1")
    await eventually(lambda: topic.ring.tail == 1)


class Broken(Silent):
    """A stream that cannot be beaten, once."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = False

    def beat(self) -> None:
        if not self.failed:
            self.failed = True
            raise ValueError("no pulse")
        super().beat()


async def test_a_tick_that_fails_is_logged_and_the_hearts_go_on_beating(
    log: WatchedLog,
    notifier: HandNotifier,
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(HEARTBEAT=0.02)
    stream = Broken()
    assert await Client(stream).chunk() == HEARTBEAT
    assert "_tick died and is started again" in caplog.text
    stream.close()


# -- when nothing is left


async def test_a_topic_without_streams_is_dropped_after_a_while(
    log: WatchedLog, notifier: HandNotifier, configure: Configure
) -> None:
    configure(HEARTBEAT=0.02, TOPIC_LINGER=0.05)
    async with listening("b"):
        async with listening("a"):
            pass
        await eventually(lambda: list(get_hub().topics) == ["b"])


async def test_a_stream_that_comes_back_in_time_finds_the_ring(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    async with listening("a") as client:
        commit("a", *numbers(1, 100))
        (*_, last) = await client.take(100)
    reads = len(log.reads)
    epoch = last.last_event_id.split("-")[0]
    async with listening("a", since=f"{epoch}-50") as client:
        assert texts(await client.take(50)) == numbers(51, 100)
    assert len(log.reads) == reads


async def test_with_the_last_stream_the_hub_stops(
    log: WatchedLog, notifier: HandNotifier, configure: Configure
) -> None:
    configure(HEARTBEAT=0.02, TOPIC_LINGER=0.0)
    async with listening("a", "b"):
        assert len(await others()) >= 4
    await eventually(lambda: not get_hub().topics)
    async with asyncio.timeout(TIMEOUT):
        while tasks := await others():
            await asyncio.wait(tasks)
    assert notifier.listeners == []


async def test_after_it_has_stopped_the_next_stream_starts_it_again(
    log: WatchedLog, notifier: HandNotifier, configure: Configure
) -> None:
    configure(HEARTBEAT=0.02, TOPIC_LINGER=0.0)
    for number in numbers(1, 3):
        async with listening("a") as client:
            (appended,) = commit_elsewhere("a", number)
            notifier.tell(Wakeup("a", appended.epoch, int(number)))
            assert texts([await client.next()]) == [number]
        async with asyncio.timeout(TIMEOUT):
            while tasks := await others():
                await asyncio.wait(tasks)


async def test_what_nobody_streams_is_not_kept(log: WatchedLog, notifier: HandNotifier) -> None:
    hub = get_hub()
    async with listening("a"):
        hub.deliver([Appended("b", make_epoch(), get_log().append(entries("b", "1"))[0].records)])
        assert not hub._inbox


async def test_the_hub_of_a_closed_loop_takes_everything_in_silence(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    async def use() -> Hub:
        await get_hub().topic("a", Reader())
        return get_hub()

    hub = await asyncio.to_thread(asyncio.run, use())
    hub.deliver(commit_elsewhere("a", "1"))
    hub.check_soon()
    hub.drain()


# -- when the server stops


async def test_draining_ends_every_stream(log: WatchedLog, notifier: HandNotifier) -> None:
    async with listening("a") as first, listening("b") as second:
        silent = Silent()
        third = asyncio.create_task(Client(silent).next())
        await eventually(lambda: silent in get_hub().streams)
        await asyncio.to_thread(get_hub().drain)
        for client in (first, second):
            assert [event.type for event in await client.rest()] == ["stream-retry"]
        assert (await third).type == "stream-retry"
    assert get_hub().streams == set()
    assert silent.ended == 1


async def test_a_finished_channel_costs_no_topic_for_ever(
    log: WatchedLog, notifier: HandNotifier, configure: Configure
) -> None:
    configure(HEARTBEAT=0.02, TOPIC_LINGER=0.0)
    async with listening("a") as client:
        end("a")
        assert texts(await client.rest()) == ["[DONE]"]
        await eventually(lambda: get_hub().topics == {})
