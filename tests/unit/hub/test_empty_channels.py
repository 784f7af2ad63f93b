"""Channels without a row: a stream of one writes nothing, and misses nothing."""

from __future__ import annotations

import asyncio
import json

import pytest

from django_sse.hub.registry import get_hub
from django_sse.log.empty import empty_epoch
from django_sse.wire import make_epoch
from tests.options import Overrides
from tests.unit.hub.support import (
    Client,
    HandNotifier,
    Reader,
    WatchedLog,
    append,
    asked,
    commit,
    commit_elsewhere,
    connected,
    eventually,
    in_ring,
    listening,
    numbers,
    read_up_to,
    texts,
)

pytestmark = pytest.mark.usefixtures("notifier")

DAY = 24 * 60


async def told(client: Client) -> tuple[str, list[int]]:
    """Reason and channels of the stream-reset that comes next."""
    event = await client.next()
    assert event.type == "stream-reset", event
    data = json.loads(event.data)
    return data["reason"], data["channels"]


async def test_any_number_of_streams_of_made_up_names_writes_nothing(log: WatchedLog) -> None:
    for number in range(100):
        async with listening(f"made-up-{number}", f"{number}-made-up") as client:
            assert client.last_event_id.count("~") == 2
    assert log.channels() == []


# -- the first event


async def test_the_first_event_of_this_process_costs_no_query(log: WatchedLog) -> None:
    async with listening("a", "b") as client:
        before = log.queries
        commit("b", "1")
        event = await client.next()
        assert event.data == "1"
        empty, row = event.last_event_id.split(".")
        assert (empty[0], row) == ("~", str(log.position("b")))
        commit("a", "2")
        position = f"{log.position('a')}.{log.position('b')}"
        assert (await client.next()).last_event_id == position
        assert log.queries == before


@pytest.mark.parametrize("how", ["told", "safety poll", "a later commit of this process"])
async def test_the_first_event_of_another_process_comes_without_a_reset(
    how: str, log: WatchedLog, notifier: HandNotifier, configure: Overrides
) -> None:
    configure(SAFETY_INTERVAL=0.02 if how == "safety poll" else 3600.0)
    async with listening("a") as client:
        commit_elsewhere("a", "1", "2")
        if how == "told":
            notifier.tell(None)
        elif how != "safety poll":
            commit("a", "3")
        events = await client.take(2)
        assert texts(events) == ["1", "2"]
        assert events[-1].last_event_id == str(log.position("a", 2))
    assert get_hub().topics["a"].generation == 0


async def test_a_row_that_is_made_during_a_comparison_is_no_other_log(log: WatchedLog) -> None:
    hub = get_hub()
    topic = await hub.topic("a", Reader())
    with log.held("heads"):
        checking = asyncio.create_task(hub.check(topic))
        await asked(log)
        commit("a", "1")
        await read_up_to(topic, 1)
    await checking
    assert (topic.generation, in_ring(topic)) == (0, ["1"])


@pytest.mark.parametrize("joins", [False, True])
async def test_a_row_that_is_made_during_a_comparison_hides_no_event_of_others(
    log: WatchedLog, joins: bool
) -> None:
    topic = await get_hub().topic("a", Reader())
    first = append("1")
    commit_elsewhere("a", "2")
    async with connected("a") as client:
        await asyncio.to_thread(client.stream.settle)
        with log.held("heads"):
            work = client.opened() if joins else get_hub().check(topic)
            comparing = asyncio.create_task(work)
            await asked(log)
            topic.deliver(first)
        # No reset: the stream begins at the head that it was told.
        await comparing
    await read_up_to(topic, 2)
    assert (topic.generation, in_ring(topic)) == (0, ["1", "2"])


async def test_commits_that_arrive_in_the_other_order_are_all_there(log: WatchedLog) -> None:
    topic = await get_hub().topic("a", Reader())
    first, second = append("1"), append("2")
    topic.deliver(second)
    topic.deliver(first)
    await read_up_to(topic, 2)
    assert (topic.generation, in_ring(topic)) == (0, ["1", "2"])


async def test_a_row_that_is_made_while_the_stream_joins_hides_no_event(log: WatchedLog) -> None:
    async with connected("a", last_event_id=None) as client:
        await asyncio.to_thread(client.stream.settle)
        commit_elsewhere("a", "1")
        async with listening("a"):
            assert (await client.opened()).last_event_id == str(log.position("a", 0))
            assert texts([await client.next()]) == ["1"]


async def test_a_client_is_reset_if_first_events_were_trimmed_before_it_got_them(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    async with listening("a") as client:
        commit_elsewhere("a", *numbers(1, 5))
        log.trim("a", count=2)
        notifier.tell(None)
        assert await told(client) == ("trimmed", [0])
        commit("a", "6")
        assert texts([await client.next()]) == ["6"]


# -- a client that comes back


def empty_position(log: WatchedLog, channel: str, days: float = 0.0) -> str:
    """The position of a client that connected to the empty channel so many days ago."""
    return f"{empty_epoch(channel, log.minute() - int(days * DAY))}-0-0"


@pytest.mark.parametrize("count", [0, 3])
async def test_its_position_is_good_while_no_event_was_trimmed(log: WatchedLog, count: int) -> None:
    position = empty_position(log, "a", days=6.9)
    commit_elsewhere("a", *numbers(1, count)) if count else None
    async with connected("a", last_event_id=position) as client:
        assert (await client.opened()).last_event_id == str(log.position("a", 0))
        commit("a", "live")
        assert texts(await client.take(count + 1)) == [*numbers(1, count), "live"]


@pytest.mark.parametrize(
    ("days", "trimmed", "age", "reason"),
    [
        (7.1, False, 7 * 86400.0, "trimmed"),
        (7.1, False, None, ""),
        (0.0, True, 7 * 86400.0, "trimmed"),
        (0.0, True, None, "trimmed"),
    ],
)
@pytest.mark.parametrize("has_row", [True, False])
async def test_its_position_is_refused_if_a_row_may_have_come_and_gone_since(
    log: WatchedLog,
    configure: Overrides,
    days: float,
    trimmed: bool,
    age: float | None,
    reason: str,
    has_row: bool,
) -> None:
    if trimmed and not has_row:
        pytest.skip("nothing was trimmed of a channel without a row")
    configure(RETENTION={"AGE": age})
    if has_row:
        commit_elsewhere("a", *numbers(1, 3))
    if trimmed:
        log.trim("a", count=2)
    async with connected("a", last_event_id=empty_position(log, "a", days)) as client:
        if reason:
            assert await told(client) == (reason, [0])
        await client.opened()
        commit("a", "live")
        rest = await client.take_until("live")
        assert len(rest) == (1 if reason or not has_row else 4)


async def test_an_empty_position_of_another_channel_is_unknown(log: WatchedLog) -> None:
    async with connected("a", last_event_id=empty_position(log, "b")) as client:
        assert await told(client) == ("unknown", [0])


async def test_the_position_of_a_row_that_is_gone_is_unknown(log: WatchedLog) -> None:
    async with connected("a", last_event_id=f"{make_epoch()}-7-tagtag") as client:
        assert await told(client) == ("unknown", [0])
        await client.opened()
        commit("a", "live")
        assert texts([await client.next()]) == ["live"]


async def test_a_client_gets_one_reset_when_the_row_is_removed(
    log: WatchedLog, notifier: HandNotifier
) -> None:
    async with listening("a", "b") as client:
        commit("a", "1")
        await client.next()
        log.clear()
        notifier.tell(None)
        assert await told(client) == ("unknown", [0])
        assert client.last_event_id.count("~") == 2
        commit("a", "live")
        assert texts([await client.next()]) == ["live"]


async def test_a_row_that_came_and_went_between_two_connections_resets_that_channel(
    log: WatchedLog,
) -> None:
    async with listening("a", "b") as client:
        commit("b", "1")
        await client.next()
    commit_elsewhere("a", *numbers(1, 3))
    log.trim("a", count=0)
    async with connected("a", "b", last_event_id=client.last_event_id) as again:
        assert await told(again) == ("trimmed", [0])
        await again.opened()
        commit("b", "2")
        assert texts([await again.next()]) == ["2"]


async def test_a_new_client_of_an_old_topic_gets_the_present_minute(
    log: WatchedLog, configure: Overrides
) -> None:
    async with listening("a"):
        get_hub().topics["a"].epoch = empty_epoch("a", log.minute() - 10)
        async with listening("a") as late:
            minute = int(late.last_event_id.split("-")[0][-6:], 32)
            assert minute >= log.minute() - 1
    await eventually(lambda: not get_hub().topics["a"].waiters)
