from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from django_sse.exceptions import InvalidChannel
from django_sse.hub.channel_stream import ChannelStream
from django_sse.hub.registry import get_hub
from django_sse.hub.subscription import subscribe
from django_sse.process import database
from django_sse.streams.pulse import get_pulse
from django_sse.wire import HEARTBEAT, Cursor, MessageEvent
from tests.options import Overrides
from tests.unit.hub.support import (
    TIMEOUT,
    Client,
    HandNotifier,
    WatchedLog,
    asked,
    commit,
    commit_elsewhere,
    connected,
    end,
    eventually,
    listening,
    numbers,
    texts,
)

Waiting = tuple[Client, asyncio.Task[list[MessageEvent]]]

pytestmark = pytest.mark.usefixtures("notifier")


# -- what may be subscribed to


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ((), "at least one channel"),
        (tuple(numbers(1, 33)), "at most 32"),
        (("a", "b", "a"), "twice"),
    ],
)
def test_what_no_stream_can_carry_is_refused(channels: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        subscribe(*channels)


def test_more_channels_than_a_stream_carries_are_no_error_of_the_server() -> None:
    # In a view it is a 404, as any other name that a client made up.
    with pytest.raises(InvalidChannel, match=r"at most 32 channels, not 33.*second stream"):
        subscribe(*numbers(1, 33))


@pytest.mark.parametrize("name", ["", "a\n", "x" * 201, "\x85", 7, None, "\x1frun:7"])
def test_a_name_that_no_channel_may_have_is_refused(name: Any) -> None:
    with pytest.raises(InvalidChannel):
        subscribe("a", name)


def test_a_since_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(TypeError):
        subscribe("a", since=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["on_open", "on_close"])
@pytest.mark.parametrize("hook", ["text", asyncio.sleep])
def test_a_hook_that_a_thread_cannot_call_is_refused(name: str, hook: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} .*function"):
        subscribe("a", **{name: hook})


async def test_a_subscription_iterates_its_stream_and_closes_it(log: WatchedLog) -> None:
    subscription = subscribe("a", "b", since=0)
    assert subscription.channels == ("a", "b")
    client = Client(aiter(subscription))
    assert (await client.opened()).last_event_id == f"{log.position('a', 0)}.{log.position('b', 0)}"
    await subscription.aclose()
    assert await client.rest() == []
    assert aiter(subscription).closed


# -- the beginning


@pytest.mark.options(RETRY=1234)
async def test_a_stream_opens_with_its_position(log: WatchedLog) -> None:
    commit_elsewhere("a", *numbers(1, 3))
    async with connected("a") as client:
        event = await client.opened()
        assert (event.data, event.last_event_id) == ("{}", str(log.position("a", 3)))
        assert client.reconnection_time == 1234


async def test_a_client_is_let_in_though_what_waits_cannot_be_sequenced(log: WatchedLog) -> None:
    commit_elsewhere("a", "1")
    log.stuck = {"a"}
    async with listening("a", since="earliest") as client:
        assert texts(await client.take(1)) == ["1"]


async def test_a_client_that_is_cut_before_its_first_event_misses_nothing(log: WatchedLog) -> None:
    async with listening("a") as client:
        position = client.last_event_id
    commit("a", *numbers(1, 3))
    async with connected("a", last_event_id=position) as client:
        assert (await client.opened()).last_event_id == str(log.position("a", 0))
        assert texts(await client.take(3)) == numbers(1, 3)


async def test_what_comes_between_the_answer_and_the_first_byte_is_not_missed(
    log: WatchedLog,
) -> None:
    stream = ChannelStream("a")
    assert await database.run(stream.settle)
    commit("a", *numbers(1, 3))
    client = Client(stream)
    assert (await client.opened()).last_event_id == str(log.position("a", 0))
    assert texts(await client.take(3)) == numbers(1, 3)
    stream.close()


@pytest.mark.parametrize(("settled", "method"), [(False, "open"), (True, "open"), (True, "read")])
async def test_what_is_committed_at_any_moment_of_the_start_arrives_once(
    settled: bool, method: str, log: WatchedLog
) -> None:
    commit_elsewhere("a", "1")
    position = str(log.position("a", 0))
    # Settled, the next head that is read is the topic's.
    brings = {"last_event_id": position} if settled else {"since": position}
    async with connected("a", **brings) as client:
        with log.held(method):
            reading = asyncio.create_task(client.take(4))
            await asked(log)
            commit("a", "2", "3")
        opening, *events = await reading
    assert (opening.type, opening.last_event_id) == ("stream-open", position)
    assert texts(events) == numbers(1, 3)


async def test_a_position_in_since_is_where_the_stream_begins(log: WatchedLog) -> None:
    commit_elsewhere("a", *numbers(1, 5))
    cursor = Cursor((log.position("a", 3),))
    async with listening("a", since=cursor) as client:
        assert texts(await client.take(2)) == ["4", "5"]


@pytest.mark.options(RETRY=1000, RETRY_JITTER=500)
async def test_a_log_that_is_away_at_the_start_sends_the_client_away_for_a_while(
    log: WatchedLog,
) -> None:
    log.away = True
    async with connected("a") as client:
        assert [event.type for event in await client.rest()] == ["stream-retry"]
        assert client.reconnection_time is not None
        assert 1000 <= client.reconnection_time <= 1500
    assert get_pulse().streams == set()


# -- the hooks


class Hooks:
    """Notes what is called, and can hold ``on_open`` back."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.opening = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def on_open(self) -> None:
        self.opening.set()
        assert self.go_on.wait(TIMEOUT)
        self.calls.append("open")

    def on_close(self) -> None:
        self.calls.append("close")

    def subscribe(self) -> dict[str, Any]:
        return {"on_open": self.on_open, "on_close": self.on_close}


async def hooks_called() -> None:
    """Returns when the hooks that wait for nothing have been called."""
    await asyncio.wrap_future(database.run_later(lambda: None))


async def test_the_hooks_are_called_once_each() -> None:
    hooks = Hooks()
    async with listening("a", **hooks.subscribe()) as client:
        await eventually(lambda: hooks.calls == ["open"])
        commit("a", "1")
        await client.next()
        client.stream.close()
    await eventually(lambda: hooks.calls == ["open", "close"])


async def test_what_the_hook_publishes_reaches_its_own_stream() -> None:
    async with listening("a", on_open=lambda: commit("a", "somebody came")) as client:
        assert texts([await client.next()]) == ["somebody came"]


async def test_a_client_that_leaves_at_once_is_closed_after_it_was_opened() -> None:
    hooks = Hooks()
    hooks.go_on.clear()
    async with listening("a", **hooks.subscribe()):
        await asyncio.to_thread(hooks.opening.wait, TIMEOUT)
    # Another of the threads for hooks is free: it must not overtake.
    await hooks_called()
    assert hooks.calls == []
    hooks.go_on.set()
    await eventually(lambda: hooks.calls == ["open", "close"])


async def test_a_stream_that_never_opened_calls_no_hook(log: WatchedLog) -> None:
    hooks = Hooks()
    stream = ChannelStream("a", **hooks.subscribe())
    stream.close()
    log.away = True
    async with connected("a", **hooks.subscribe()) as client:
        await client.rest()
    log.away = False
    async with connected("b", **hooks.subscribe()) as client:
        with log.held("open"):
            opening = asyncio.create_task(client.next())
            await asked(log)
            opening.cancel()
        await asyncio.wait([opening])
    await hooks_called()
    assert hooks.calls == []


async def test_a_hook_that_fails_is_logged_and_the_stream_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise ValueError("no such room")

    async with listening("a", on_open=fail) as client:
        commit("a", "1")
        assert texts([await client.next()]) == ["1"]
        await eventually(lambda: "no such room" in caplog.text)


# -- live


async def test_every_event_comes_once_and_in_order(log: WatchedLog) -> None:
    async with listening("a") as client:
        for number in numbers(1, 300):
            commit("a", number)
            if int(number) % 7 == 0:
                await asyncio.sleep(0)
        events = await client.take(300)
    assert texts(events) == numbers(1, 300)
    assert [event.last_event_id for event in events] == [
        str(log.position("a", seq)) for seq in range(1, 301)
    ]
    assert log.reads == []


async def test_a_burst_is_one_write() -> None:
    async with listening("a") as client:
        for number in numbers(1, 100):
            commit("a", number)
        await client.take(100)
        # The opening and the burst.
        assert len(client.chunks) == 2


async def test_clients_at_one_place_share_the_bytes() -> None:
    async with listening("a") as first, listening("a") as second:
        commit("a", *numbers(1, 10))
        assert await first.chunk() is await second.chunk()


@pytest.mark.options(WRITE_BYTES=10_000)
async def test_a_write_is_bounded_but_for_a_single_event() -> None:
    sizes = [100, 6000, 6000, 25_000, 100, 100, 9000]
    async with listening("a") as client:
        commit("a", *["x" * size for size in sizes])
        events = await client.take(len(sizes))
        assert [len(event.data) for event in events] == sizes
        assert [len(chunk) > 10_000 for chunk in client.chunks].count(True) == 1


async def test_an_event_type_arrives() -> None:
    async with listening("a") as client:
        end("a", "bye")
        event = await client.next()
        assert (event.type, event.data) == ("close", "bye")


# -- replay


@pytest.mark.options(RING_EVENTS=10, PAGE_EVENTS=100)
async def test_a_replay_of_any_length_comes_once_and_in_order(log: WatchedLog) -> None:
    commit_elsewhere("a", *numbers(1, 5000))
    async with listening("a", since="earliest") as client:
        assert texts(await client.take(5000)) == numbers(1, 5000)
    assert len(log.reads) <= 5000 // 64 + 5


@pytest.mark.options(RING_EVENTS=20, PAGE_EVENTS=10)
async def test_a_replay_joins_live_without_a_gap_or_a_double() -> None:
    commit("a", *numbers(1, 500))
    async with listening("a", since="earliest") as client:
        events = []
        for number in numbers(501, 1000):
            commit("a", number)
            events.append(await client.next())
        events += await client.take(500)
    assert texts(events) == numbers(1, 1000)


@pytest.mark.options(RING_EVENTS=10, PAGE_EVENTS=50, WRITE_BYTES=300)
async def test_a_replay_holds_one_page_and_not_the_whole_log() -> None:
    commit_elsewhere("a", *numbers(1, 1000))
    async with listening("a", since="earliest") as client:
        for _ in range(100):
            await client.chunk()
            (position,) = client.stream._positions
            assert len(position.page) <= 50


async def test_clients_who_come_back_at_once_share_the_reads(log: WatchedLog) -> None:
    commit_elsewhere("a", *numbers(1, 1000))

    async def come_back(seq: int) -> list[str]:
        async with listening("a", since=str(log.position("a", seq))) as client:
            return texts(await client.take(1000 - seq))

    received = await asyncio.gather(*[come_back(seq) for seq in range(1000)])
    assert received == [numbers(seq + 1, 1000) for seq in range(1000)]
    assert len(log.reads) <= 1 + 1000 // 64


@pytest.mark.options(RING_EVENTS=10)
async def test_clients_who_come_back_to_one_place_far_behind_share_its_pages(
    log: WatchedLog,
) -> None:
    commit_elsewhere("a", *numbers(1, 640))

    async def come_back() -> list[str]:
        async with listening("a", since=str(log.position("a", 0))) as client:
            return texts(await client.take(640))

    received = await asyncio.gather(*[come_back() for _ in range(100)])
    assert received == [numbers(1, 640)] * 100
    assert len(log.reads) <= 40


@pytest.mark.options(RING_EVENTS=10, PAGE_EVENTS=50, COALESCE=0)
async def test_a_slow_reader_catches_up_from_the_log_and_holds_up_nobody() -> None:
    async with listening("a") as slow, listening("a") as fast:
        for number in numbers(1, 500):
            commit("a", number)
            assert texts([await fast.next()]) == [number]
        assert texts(await slow.take(500)) == numbers(1, 500)


# -- redaction


async def test_redacted_events_are_skipped_live_and_in_replay(log: WatchedLog) -> None:
    commit("a", "1", "secret", "3")
    log.redact("a", 2)
    async with listening("a", since="earliest") as client:
        assert texts(await client.take(2)) == ["1", "3"]
    commit("b", "secret")
    log.redact("b", 1)
    async with listening("b", since="earliest") as client:
        commit("b", "2")
        assert texts([await client.next()]) == ["2"]


@pytest.mark.options(RING_EVENTS=1, WRITE_BYTES=150)
async def test_what_was_read_before_a_redaction_is_not_sent_after_it(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    commit("a", *numbers(1, 3), "secret", *numbers(5, 10))
    # On a stream of several channels a frame is longer, so that not all of the page is sent.
    async with listening("a", "b", since="earliest") as client:
        received = texts(await client.take(2))
        page = client.stream._positions[0].page
        assert any(b"secret" in frame.data for frame in page)
        log.redact("a", 4)
        notifier.tell(None)
        await eventually(lambda: get_hub().topics["a"].redactions)
        received += texts(await client.take(7))
    assert received == [*numbers(1, 3), *numbers(5, 10)]


# -- the end


async def test_the_terminal_event_ends_the_stream() -> None:
    async with listening("a") as client:
        commit("a", "1")
        end("a")
        assert [(event.type, event.data) for event in await client.rest()] == [
            ("message", "1"),
            ("close", "[DONE]"),
        ]
        assert get_pulse().streams == set()


@pytest.mark.options(RING_EVENTS=2, PAGE_EVENTS=3)
async def test_a_finished_channel_is_replayed_to_its_end() -> None:
    commit("a", *numbers(1, 10))
    end("a")
    for since, expected in ((11, [*numbers(1, 10), "[DONE]"]), (1, ["[DONE]"])):
        async with listening("a", since=since) as client:
            assert texts(await client.rest()) == expected


async def test_a_stream_that_begins_at_the_end_says_so() -> None:
    # A 204 would be better, but whoever reads a stream without settle() has sent the headers.
    commit("a", "1")
    end("a")
    async with connected("a") as client:
        assert [(event.type, event.data) for event in await client.rest()] == [("close", "[DONE]")]


async def test_who_has_the_end_is_told_that_nothing_can_come(log: WatchedLog) -> None:
    commit("a", "1")
    end("a")
    for seq, goes_on in ((1, True), (2, False)):
        stream = ChannelStream("a")
        stream.last_event_id = str(log.position("a", seq))
        assert await stream.open() is goes_on
        assert await asyncio.to_thread(stream.open_in_thread) is goes_on


async def test_a_stream_that_ended_leaves_nothing_behind() -> None:
    async with listening("a", "b") as client:
        topics = list(get_hub().topics.values())
        assert [client.stream in topic.waiters for topic in topics] == [True, True]
    assert [topic.waiters for topic in topics] == [set(), set()]
    assert get_pulse().streams == set()


async def test_a_stream_that_is_closed_while_it_starts_leaves_nothing_behind(
    log: WatchedLog,
) -> None:
    hooks = Hooks()
    async with connected("a", **hooks.subscribe()) as client:
        with log.held("open"):
            starting = asyncio.create_task(client.rest())
            await asked(log)
            await asyncio.to_thread(client.stream.close)
        assert await starting == []
    assert [topic.waiters for topic in get_hub().topics.values()] in ([], [set()])
    assert get_pulse().streams == set()
    await hooks_called()
    assert hooks.calls == []


# -- while the log is away


async def test_streams_stay_open_while_the_log_is_away_and_catch_up(
    log: WatchedLog, notifier: HandNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening("a") as first, listening("a") as second:
        log.away = True
        commit_elsewhere("a", *numbers(1, 100))
        notifier.tell(None)
        await eventually(lambda: "waits for the log" in caplog.text)
        log.away = False
        assert texts(await first.take(100)) == numbers(1, 100)
        assert texts(await second.take(100)) == numbers(1, 100)


@pytest.mark.options(RING_EVENTS=10, PAGE_EVENTS=20, HEARTBEAT=0.05)
async def test_a_replay_goes_on_after_the_log_was_away(log: WatchedLog) -> None:
    commit_elsewhere("a", *numbers(1, 1000))
    async with listening("a", since="earliest") as client:
        assert texts(await client.take(30)) == numbers(1, 30)
        log.away = True
        # What was read before is sent; then heartbeats show that the stream is open.
        heartbeats = client.heartbeats
        while client.heartbeats == heartbeats:
            await client.chunk()
        log.away = False
        assert texts(await client.take(970)) == numbers(31, 1000)


@pytest.fixture(params=["begins", "replays"])
async def waiting(
    log: WatchedLog,
    configure: Overrides,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Waiting]:
    """A client, and its read that waits for a log that is away."""
    configure(RING_EVENTS=10)
    commit_elsewhere("a", *numbers(1, 1000))
    async with listening("a"), connected("a", since="earliest") as client:
        if request.param == "replays":
            await client.opened()
        else:
            commit_elsewhere("a", "that the others do not know of")
            await asyncio.to_thread(client.stream.settle)
        log.away = True
        reading = asyncio.create_task(client.rest())
        await eventually(lambda: "wait for the log" in caplog.text)
        yield client, reading


async def test_a_stream_that_waits_for_the_log_ends_when_the_server_stops(waiting: Waiting) -> None:
    _, reading = waiting
    get_pulse().drain()
    assert (await reading)[-1].type == "stream-retry"


async def test_a_stream_that_waits_for_the_log_ends_when_it_is_closed(waiting: Waiting) -> None:
    client, reading = waiting
    await asyncio.to_thread(client.stream.close)
    assert await reading == []


async def test_a_client_that_leaves_while_it_waits_for_the_log_leaves_nothing_behind(
    waiting: Waiting,
) -> None:
    client, reading = waiting
    reading.cancel()
    await asyncio.wait([reading])
    assert client.stream not in get_pulse().streams | get_hub().topics["a"].waiters
    assert client.stream._fetching is None or client.stream._fetching.cancelling()


# -- heartbeats


@pytest.mark.options(HEARTBEAT=0.02)
async def test_an_idle_subscription_has_heartbeats_between_its_events() -> None:
    async with listening("a") as client:
        for number in numbers(1, 3):
            assert await client.chunk() == HEARTBEAT
            commit("a", number)
            assert texts([await client.next()]) == [number]
