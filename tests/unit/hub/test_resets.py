"""Where the log cannot honour a position: one stream-reset that says why, and then live."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from django_sse.hub.registry import get_hub
from django_sse.wire import MessageEvent, make_epoch
from tests.options import Overrides
from tests.unit.hub.support import (
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

Harm = Callable[[WatchedLog], object]

pytestmark = pytest.mark.usefixtures("notifier")


def wiped(log: WatchedLog) -> None:
    log.clear()


def wiped_and_written(log: WatchedLog) -> None:
    log.clear()
    commit_elsewhere("a", *numbers(1, 20))


def restored(log: WatchedLog) -> None:
    """From a copy that ends before the position 5."""
    log.restore("a", 3)


def rewritten(log: WatchedLog) -> None:
    """Restore a copy that ends before position 5, and publish as many other events."""
    head = log.position("a").seq
    log.rewrite("a", head - 3, *numbers(4, head))


def rewritten_and_longer(log: WatchedLog) -> None:
    rewritten(log)
    commit_elsewhere("a", "one more")


def trimmed(log: WatchedLog) -> None:
    """Beyond the position 5."""
    log.trim("a", count=2)


def said(event: MessageEvent) -> tuple[str, list[int]]:
    """Reason and channels of a stream-reset."""
    assert event.type == "stream-reset", event
    data = json.loads(event.data)
    assert set(data) == {"reason", "channels"}
    return data["reason"], data["channels"]


async def assert_live(client: Client, log: WatchedLog) -> None:
    """What comes next is what is published next: no second reset, nothing old."""
    for number in numbers(1, 3):
        (appended,) = commit("a", f"live {number}")
        event = await client.next()
        assert (event.type, event.data) == ("message", f"live {number}")
        assert event.last_event_id == str(log.position("a", appended.records[-1].seq))


OTHER_LOGS = [
    (wiped, "unknown"),
    (wiped_and_written, "unknown"),
    (restored, "rewound"),
    (rewritten, "rewound"),
    (rewritten_and_longer, "rewound"),
]

# -- a client that comes back


@pytest.mark.parametrize(("harm", "reason"), [*OTHER_LOGS, (trimmed, "trimmed")])
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside a live client"])
async def test_a_client_that_comes_back_to_another_log_is_told_once(
    alone: bool, harm: Harm, reason: str, log: WatchedLog, notifier: HandNotifier
) -> None:
    commit_elsewhere("a", *numbers(1, 10))
    position = str(log.position("a", 5))
    if alone:
        harm(log)
        async with connected("a", last_event_id=position) as client:
            assert said(await client.next()) == (reason, [0])
            await client.opened()
            await assert_live(client, log)
        return
    async with listening("a"):
        harm(log)
        async with connected("a", last_event_id=position) as client:
            assert said(await client.next()) == (reason, [0])
            await client.opened()
            notifier.tell(None)
            await assert_live(client, log)


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        ("nonsense", "malformed"),
        ("", "malformed"),
        ("{epoch}-05-tagtag", "malformed"),
        ("{epoch}-5-tagtag,{epoch}-5-tagtag", "malformed"),
        ("{epoch}-5", "malformed"),
        ("{epoch}-5-0", "malformed"),
        ("ä-5-tagtag", "malformed"),
        ("{foreign}-5-tagtag", "unknown"),
        ("{epoch}-11-tagtag", "rewound"),
        ("{epoch}-9223372036854775807-tagtag", "rewound"),
        ("{epoch}-1-tagtag", "trimmed"),
        ("{epoch}-2-tagtag", "rewound"),
        ("{epoch}-5-tagtag", "rewound"),
        ("{epoch}-10-tagtag", "rewound"),
    ],
)
async def test_a_position_that_is_not_there_is_told_once(
    position: str, reason: str, log: WatchedLog
) -> None:
    commit_elsewhere("a", *numbers(1, 10))
    log.trim("a", count=8)
    text = position.format(epoch=log.epoch("a"), foreign=make_epoch())
    async with connected("a", last_event_id=text) as client:
        reset = await client.next()
        assert said(reset) == (reason, [0])
        assert reset.last_event_id == str(log.position("a", 10))
        assert (await client.opened()).last_event_id == str(log.position("a", 10))
        await assert_live(client, log)


async def test_the_reset_comes_before_the_position_it_leads_to() -> None:
    # In the other order, a client that is cut between the two would come back with the new
    # position and never hear that there is a gap.
    commit_elsewhere("a", *numbers(1, 10))
    async with connected("a", last_event_id="nonsense") as client:
        assert [(await client.next()).type for _ in range(2)] == ["stream-reset", "stream-open"]


async def test_who_was_told_is_not_told_again_at_the_next_connection() -> None:
    commit_elsewhere("a", *numbers(1, 10))
    async with connected("a", last_event_id="nonsense") as client:
        position = (await client.next()).last_event_id
    commit("a", "11")
    async with connected("a", last_event_id=position) as client:
        await client.opened()
        assert texts([await client.next()]) == ["11"]


async def test_who_was_cut_before_the_reset_arrived_is_told_at_the_next_connection() -> None:
    commit_elsewhere("a", *numbers(1, 10))
    for _ in range(2):
        async with connected("a", last_event_id="nonsense") as client:
            assert said(await client.next()) == ("malformed", [0])


async def test_a_finished_channel_tells_of_the_reset_and_ends() -> None:
    commit_elsewhere("a", *numbers(1, 10))
    end("a")
    async with connected("a", last_event_id="nonsense") as client:
        assert said(await client.next()) == ("malformed", [0])
        await client.opened()
        assert await client.rest() == []


# -- a client that is there


@pytest.mark.parametrize(("harm", "reason"), OTHER_LOGS)
@pytest.mark.parametrize("how", ["told", "safety poll", "own publish"])
async def test_a_client_that_is_there_is_told_once(
    how: str,
    harm: Harm,
    reason: str,
    log: WatchedLog,
    notifier: HandNotifier,
    configure: Overrides,
) -> None:
    configure(SAFETY_INTERVAL=0.02 if how == "safety poll" else 3600.0)
    async with listening("a") as first, listening("a") as second:
        commit("a", *numbers(1, 10))
        for client in (first, second):
            await client.take(10)
        harm(log)
        if how == "told":
            notifier.tell(None)
        elif how == "own publish":
            commit("a", "of the new log")
        for client in (first, second):
            reset = await client.next()
            assert said(reset)[1] == [0]
            if how != "own publish":
                assert said(reset)[0] == reason
            assert reset.last_event_id.startswith(log.epoch("a"))
        commit("a", "live")
        for client in (first, second):
            events = await client.take_until("live")
            assert [event.type for event in events] == ["message"] * len(events)


async def test_trimming_does_not_disturb_who_is_up_to_date(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    async with listening("a") as client:
        commit("a", *numbers(1, 10))
        await client.take(10)
        log.trim("a", count=0)
        notifier.tell(None)
        await assert_live(client, log)


async def test_clients_who_are_there_come_back_after_a_rewind_with_their_new_position(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    commit_elsewhere("a", *numbers(1, 10))
    async with listening("a") as client:
        rewritten(log)
        notifier.tell(None)
        position = (await client.next()).last_event_id
    commit("a", "11")
    async with connected("a", last_event_id=position) as client:
        await client.opened()
        assert texts([await client.next()]) == ["11"]


# -- a client in the middle of a replay


async def replaying(client: Client) -> None:
    """The client has had the first events of a long replay, and the page it is at."""
    await client.opened()
    assert texts(await client.take(30)) == numbers(1, 30)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda log: log.trim("a", count=100), "trimmed"),
        (lambda log: log.trim("a", count=0), "trimmed"),
        (lambda log: log.missing.update(range(200, 300)), "trimmed"),
        (lambda log: log.restore("a", 150), "rewound"),
        (wiped, "unknown"),
        (rewritten, "rewound"),
        (rewritten_and_longer, "rewound"),
    ],
    ids=[
        "trimmed",
        "trimmed to its end",
        "a hole in the middle",
        "restored",
        "wiped",
        "rewritten before it",
        "rewritten before it and longer",
    ],
)
@pytest.mark.options(RING_EVENTS=10, PAGE_EVENTS=30, WRITE_BYTES=200)
async def test_a_slow_reader_whose_log_changes_is_told_once_and_goes_on_live(
    harm: Harm, reason: str, log: WatchedLog
) -> None:
    commit_elsewhere("a", *numbers(1, 1000))
    async with connected("a", since="earliest") as client:
        await replaying(client)
        harm(log)
        events = [await client.next()]
        while events[-1].type == "message":
            events.append(await client.next())
        # Before the reset: what follows without a hole.
        assert texts(events[:-1]) == numbers(31, 29 + len(events))
        assert said(events[-1]) == (reason, [0])
        await assert_live(client, log)


@pytest.mark.options(RING_EVENTS=10, PAGE_EVENTS=30, WRITE_BYTES=200)
@pytest.mark.parametrize("channels", [["a"], ["a", "b"]], ids=["alone", "of several channels"])
@pytest.mark.parametrize("in_ring", [0, 10])
async def test_a_reader_of_the_new_log_gets_no_event_of_the_old_one_from_memory(
    in_ring: int, channels: list[str], log: WatchedLog
) -> None:
    commit_elsewhere("a", *numbers(1, 1000 - in_ring))
    async with listening("a"), connected(*channels, since="earliest") as client:
        commit("a", *numbers(1001 - in_ring, 1000))
        await replaying(client)
        log.restore("a", 150)
        new = [f"new {number}" for number in range(151, 1001)]
        commit_elsewhere("a", *new)
        events = await client.take_until('{"reason":"rewound","channels":[0]}')
        # The position was right, and so were the pages. Only the ring was of the old log.
        assert texts(events[:-1]) == [*numbers(31, 150), *new][: len(events) - 1]
        commit("a", "live")
        assert texts([await client.next()]) == ["live"]


@pytest.mark.options(RING_EVENTS=10, PAGE_EVENTS=20)
async def test_a_reader_that_trimming_does_not_overtake_notices_nothing(log: WatchedLog) -> None:
    commit_elsewhere("a", *numbers(1, 1000))
    async with connected("a", since="earliest") as client:
        await client.opened()
        received: list[str] = []
        while len(received) < 1000:
            received += texts(await client.take(10))
            log.trim("a", count=1000 - len(received))
    assert received == numbers(1, 1000)


# -- several channels


async def test_of_several_channels_the_reset_says_which(log: WatchedLog) -> None:
    for channel in ("a", "b", "c"):
        commit_elsewhere(channel, *numbers(1, 10))
    log.trim("c", count=1)
    position = ".".join(str(log.position(channel, 5)) for channel in ("a", "c"))
    async with connected("a", "b", "c", last_event_id=position) as client:
        reset = await client.next()
        assert reset.type == "stream-reset"
        assert json.loads(reset.data) == {"reason": "unknown", "channels": [1, 2]}
        assert reset.last_event_id == ".".join(
            str(log.position(*each)) for each in (("a", 5), ("b", 10), ("c", 10))
        )
        await client.opened()
        assert texts(await client.take(5)) == numbers(6, 10)
        commit("c", "11")
        assert texts([await client.next()]) == ["11"]


async def test_of_several_channels_one_that_changes_later_is_reset_alone(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    async with listening("a", "b") as client:
        commit("a", *numbers(1, 10))
        commit("b", *numbers(1, 10))
        await client.take(20)
        log.rewrite("b", 5, *numbers(6, 10))
        notifier.tell(None)
        reset = await client.next()
        assert said(reset) == ("rewound", [1])
        assert reset.last_event_id == f"{log.position('a', 10)}.{log.position('b', 10)}"
        commit("a", "11")
        commit("b", "11")
        assert texts(await client.take(2)) == ["11", "11"]


# -- a client's word that the log was rewound


@pytest.mark.parametrize("bogus", ["11-tagtag", "1000000000000-tagtag", "10-tagtag", "5-tagtag"])
async def test_a_client_whose_position_is_bogus_resets_nobody_but_itself(
    log: WatchedLog, bogus: str
) -> None:
    commit_elsewhere("a", *numbers(1, 10))
    epoch, position = log.epoch("a"), str(log.position("a"))
    async with listening("a") as other:
        for _ in range(50):
            async with connected("a", last_event_id=f"{epoch}-{bogus}") as client:
                reset = await client.next()
                assert said(reset) == ("rewound", [0])
                assert reset.last_event_id == position
                assert (await client.opened()).last_event_id == position
        assert get_hub().topics["a"].generation == 0
        async with connected("a", last_event_id=f"{epoch}-{bogus}") as client:
            await client.next()
            await client.opened()
            await assert_live(client, log)
        assert log.epoch("a") == epoch
        assert texts(await other.take(3)) == [f"live {number}" for number in numbers(1, 3)]


async def test_of_several_channels_no_other_is_reset_for_a_client_ahead_of_one(
    log: WatchedLog,
) -> None:
    for channel in "ab":
        commit_elsewhere(channel, *numbers(1, 10))
    epochs = [log.epoch(channel) for channel in "ab"]
    position = f"{epochs[0]}-11-tagtag.{log.position('b', 8)}"
    async with listening("a", "b") as other:
        async with connected("a", "b", last_event_id=position) as client:
            assert said(await client.next()) == ("rewound", [0])
            await client.opened()
            assert texts(await client.take(2)) == ["9", "10"]
            commit("a", "live on a")
            assert texts([await client.next()]) == ["live on a"]
        assert [log.epoch(channel) for channel in "ab"] == epochs
        assert texts(await other.take(1)) == ["live on a"]


async def test_a_client_ahead_of_the_log_costs_no_query_more_than_another(log: WatchedLog) -> None:
    commit_elsewhere("a", *numbers(1, 10))
    epoch = log.epoch("a")
    positions = [str(log.position("a", 10)), f"{epoch}-10-tagtag", f"{epoch}-11-tagtag"]
    positions += [str(log.position("a", 5)), f"{epoch}-5-tagtag"]
    async with listening("a"):
        costs = []
        for position in positions:
            before = log.queries - len(log.reads)
            async with connected("a", last_event_id=position) as client:
                await client.next()
            costs.append(log.queries - len(log.reads) - before)
    # One more for the tag of an event that is at neither end.
    assert costs == [1, 1, 1, 2, 2]


async def test_a_log_that_was_restored_under_a_running_process_is_told_to_all_by_that_process(
    log: WatchedLog,
) -> None:
    # By what it remembers itself, whatever the client says.
    commit_elsewhere("a", *numbers(1, 10))
    before = str(log.position("a"))
    async with listening("a") as other:
        restored(log)
        async with connected("a", last_event_id=before) as client:
            reset = await client.next()
            assert said(reset) == ("rewound", [0])
            assert reset.last_event_id == str(log.position("a", 3))
            await client.opened()
            assert said(await other.next()) == ("rewound", [0])
            await assert_live(client, log)
        assert texts(await other.take(3)) == [f"live {number}" for number in numbers(1, 3)]


# -- races of the start


@pytest.mark.parametrize("harm", [rewritten, rewritten_and_longer, restored])
@pytest.mark.parametrize("seq", [5, 10])
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside a live client"])
async def test_a_log_that_is_rewound_between_the_answer_and_the_first_byte_is_told_of_once(
    alone: bool, seq: int, harm: Harm, log: WatchedLog, notifier: HandNotifier
) -> None:
    commit_elsewhere("a", *numbers(1, 10))
    async with AsyncExitStack() as beside:
        if not alone:
            await beside.enter_async_context(listening("a"))
        position = str(log.position("a", seq))
        async with connected("a", last_event_id=position) as client:
            harm(log)
            if not alone:
                notifier.tell(None)
            events = await client.take(2)
            assert sorted(each.type for each in events) == ["stream-open", "stream-reset"]
            (reset,) = (each for each in events if each.type == "stream-reset")
            assert said(reset) == ("rewound", [0])
            assert reset.last_event_id == str(log.position("a"))
            await assert_live(client, log)


async def test_a_log_that_is_trimmed_between_the_answer_and_the_first_byte_is_told_of(
    log: WatchedLog,
) -> None:
    commit_elsewhere("a", *numbers(1, 10))
    async with connected("a", last_event_id=str(log.position("a", 5))) as client:
        trimmed(log)
        await client.opened()
        assert said(await client.next()) == ("trimmed", [0])
        await assert_live(client, log)


async def test_a_log_that_is_rewritten_while_the_stream_joins_is_told_of_once(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    commit_elsewhere("a", *numbers(1, 10))
    async with connected("a", last_event_id=str(log.position("a", 5))) as client:
        with log.held("open"):
            reading = asyncio.create_task(client.next())
            await asked(log)
            rewritten(log)
        notifier.tell(None)
        events = [await reading]
        while events[-1].type != "stream-reset":
            events.append(await client.next())
        assert said(events[-1]) == ("rewound", [0])
        await eventually(lambda: get_hub().topics["a"].agrees(log.position("a")))
        commit("a", "live")
        rest = await client.take_until("live")
        assert "stream-reset" not in [event.type for event in rest]


@pytest.mark.options(RING_EVENTS=10, PAGE_EVENTS=30)
async def test_a_page_that_was_asked_for_before_the_reset_is_not_sent_after_it(
    log: WatchedLog,
) -> None:
    commit_elsewhere("a", *numbers(1, 1000))
    async with listening("a", since="earliest") as client:
        (position,) = client.stream._positions
        await client.chunk()
        assert not position.page
        reading = asyncio.create_task(client.chunk())
        rewritten(log)
        # After the client asked for its next page, and before that is read.
        topic = get_hub().topics["a"]
        asyncio.get_running_loop().call_soon(topic.restart, log.open(["a"])[0], "rewound")
        await reading
        events = await client.take_until('{"reason":"rewound","channels":[0]}')
        assert said(events[-1]) == ("rewound", [0])
        await assert_live(client, log)


@pytest.mark.options(RING_EVENTS=10, PAGE_EVENTS=30)
async def test_a_hole_that_was_found_before_the_reset_is_not_told_of_after_it(
    log: WatchedLog,
) -> None:
    commit_elsewhere("a", *numbers(1, 1000))
    async with listening("a", since="earliest") as client:
        await client.take(30)
        trimmed(log)
        with log.held("heads"):
            reading = asyncio.create_task(client.next())
            # The hole is found, and the log is asked what is the matter.
            await asked(log)
            rewritten(log)
            get_hub().topics["a"].restart(log.open(["a"])[0], "rewound")
            assert said(await reading) == ("rewound", [0])
        await assert_live(client, log)
