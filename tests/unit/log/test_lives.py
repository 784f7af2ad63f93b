"""Streams and positions of a channel whose row is removed and made again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from django_sse import (
    adelete_channel,
    afinish,
    apublish,
    cursor,
    delete_channel,
    finish,
    publish,
)
from django_sse.exceptions import ChannelFinished, PublishNotAllowed
from django_sse.hub.channel_stream import ChannelStream
from django_sse.hub.position import settle
from django_sse.hub.registry import get_hub
from django_sse.log import EventLog
from django_sse.log.empty import empty_epoch
from django_sse.log.memory import MemoryLog
from django_sse.log.retention import Limits, Swept
from django_sse.process.database import run, write
from django_sse.wire.cursor import Cursor, is_empty
from tests.options import Overrides
from tests.unit.hub.support import connected, eventually, listening, numbers, texts
from tests.unit.log import streams
from tests.unit.log.streams import reason, say
from tests.unit.log.support import (
    age,
    age_row,
    entry,
    everything,
    orphan,
    run_python,
)
from tests.unit.log.support import texts as texts_in

# Fixtures.
configure, live = streams.configure, streams.live

pytestmark = [
    pytest.mark.django_db(transaction=True, available_apps=["django_sse"]),
    pytest.mark.usefixtures("storage"),
]

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
WEEK = Limits(age=7 * DAY, row_age=7 * DAY)


def remove(log: EventLog, channel: str = "a") -> None:
    """Remove the channel's row as ``sse_trim`` does, long after its newest event."""
    head = log.heads([channel])[channel]
    age(log, channel, 8 * DAY, head.head)
    assert log.sweep(WEEK, [channel]).channels == 1


# -- streams


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize("how", ["here", "another process"])
@pytest.mark.parametrize("told", [False, True], ids=["before the new row", "with the new row"])
async def test_a_connected_client_is_reset_once_and_goes_on_in_the_new_row(
    log: EventLog, configure: Overrides, how: str, told: bool
) -> None:
    if how != "here" and isinstance(log, MemoryLog):
        pytest.skip("no other process sees a log in memory")
    if not told or how != "here":
        configure(SAFETY_INTERVAL=0.05)
    async with listening("a") as client:
        await say("1", "2")
        assert texts(await client.take(2)) == ["1", "2"]
        await write(partial(remove, log))
        if not told:
            assert reason(await client.next()) == "unknown"
            assert is_empty(Cursor.parse(client.last_event_id).positions[0].epoch)
        async with listening("a", since="earliest") as late:
            if how == "here":
                await say("new")
            else:
                code = "publish('a', 'new')"
                assert await asyncio.to_thread(run_python, code) == (0, "")
            if told:
                assert reason(await client.next()) == "unknown"
                await say("next")
                assert (await client.take_until("next"))[-1].data == "next"
            else:
                assert texts([await client.next()]) == ["new"]
            assert texts([await late.next()]) == ["new"]
        assert get_hub().topics["a"].generation == 1


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize("again", [False, True], ids=["no row", "a new row"])
async def test_a_client_that_reconnects_after_the_removal_is_reset_and_goes_on(
    log: EventLog, again: bool
) -> None:
    ids = await say("1", "2", "3")
    await write(partial(remove, log))
    if again:
        await say("new 1", "new 2", "new 3", "new 4")
    for position in ids:
        async with connected("a", last_event_id=position) as client:
            assert reason(await client.next()) == "unknown"
            await client.opened()
            await say("live")
            assert texts([await client.next()]) == ["live"]
        if not again:
            await write(partial(remove, log))


@pytest.mark.usefixtures("live")
async def test_a_topic_of_the_old_row_gives_nothing_of_it_to_new_clients(log: EventLog) -> None:
    async with listening("a") as client:
        await say(*numbers(1, 5))
        await client.take(5)
    # The process still has the events.
    await write(partial(remove, log))
    async with listening("a", since="earliest") as early:
        await say("new")
        assert texts([await early.next()]) == ["new"]
    async with connected("a", last_event_id=client.last_event_id) as again:
        assert reason(await again.next()) == "unknown"


# -- positions from before the first event


def judged(log: EventLog, age: timedelta) -> str:
    """Return why the log cannot honour an empty position of this age; empty if it can."""
    epoch = empty_epoch("a", log.minute() - int(age / MINUTE))
    return settle(log, ["a"], f"{epoch}-0-0", "now").resets.get(0, "")


@pytest.mark.usefixtures("configure")
def test_an_empty_position_is_honoured_for_one_row_of_its_channel(log: EventLog) -> None:
    assert judged(log, 6 * DAY) == ""
    publish("a", "1")
    assert finish("a")
    assert judged(log, 6 * DAY) == ""
    log.trim("a", count=0)
    assert judged(log, 6 * DAY) == "trimmed"
    age_row(log, "a", 8 * DAY)
    assert log.sweep(WEEK).channels == 1
    for text in (None, "of the second row"):
        if text:
            publish("a", text)
        assert judged(log, 6 * DAY) == ""
        assert judged(log, 8 * DAY) == "trimmed"


@pytest.mark.usefixtures("configure")
@pytest.mark.parametrize("minutes", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("again", [False, True])
def test_no_empty_position_outlives_a_row_that_came_after_it(
    log: EventLog, minutes: int, again: bool
) -> None:
    publish("a", "missed")
    since = 7 * DAY + minutes * MINUTE
    age(log, "a", since, 1)
    age_row(log, "a", since)
    gone = log.sweep(WEEK).channels
    assert gone == (minutes >= 0)
    if not gone:
        assert texts_in(log, "a") == ["missed"]
        return
    if again:
        publish("a", "of the second row")
    # The position is at least as old as the first event.
    assert judged(log, since) == judged(log, since + MINUTE) == "trimmed"


@pytest.mark.usefixtures("configure")
def test_a_minute_is_read_before_the_row_is_found_missing(
    log: EventLog, request: pytest.FixtureRequest
) -> None:
    if isinstance(log, MemoryLog):
        pytest.skip("nothing comes between the two in memory")
    asked: list[str] = []

    def note(execute: Any, sql: str, *args: Any) -> Any:
        asked.append("row" if "django_sse_channel" in sql else "minute")
        return execute(sql, *args)

    with connection.execute_wrapper(note):
        log.open(["a"])
    assert asked[-2:] == ["minute", "row"]


# -- delete_channel


@pytest.mark.usefixtures("configure")
@pytest.mark.parametrize("end", [False, True], ids=["open", "finished"])
def test_a_deleted_channel_has_no_events_and_keeps_its_count_and_its_state(
    log: EventLog, end: bool
) -> None:
    first = publish("a", "1", key="k")
    publish("b", "1")
    publish("a", "2")
    if end:
        finish("a")
    (before,) = log.open(["a"])
    assert delete_channel("a") == (3 if end else 2)
    assert delete_channel("a") == delete_channel("nobody's") == 0
    (after,) = log.open(["a"])
    assert (after.position, after.start, after.state) == (
        before.position,
        before.position,
        before.state,
    )
    assert everything(log, "a") == []
    assert texts_in(log, "b") == ["1"]
    # For a day the key is that event's.
    assert publish("a", "again", key="k") == first


@pytest.mark.usefixtures("configure")
def test_what_was_committed_before_is_deleted_too(log: EventLog) -> None:
    if isinstance(log, MemoryLog):
        pytest.skip("a log in memory has no outbox")
    publish("a", "1")
    orphan(log, entry("a", "2"))
    assert delete_channel("a") == 2
    assert everything(log, "a") == []
    assert log.orphans() == []


@pytest.mark.usefixtures("configure")
def test_it_is_refused_where_it_would_hold_the_lock_or_block_the_loop(log: EventLog) -> None:
    publish("a", "1")
    with transaction.atomic():
        with pytest.raises(PublishNotAllowed, match=r"on_commit\(lambda: delete_channel"):
            delete_channel("a")
        transaction.on_commit(partial(delete_channel, "a"))
        assert texts_in(log, "a") == ["1"]
    assert texts_in(log, "a") == []

    async def on_the_loop() -> None:
        delete_channel("a")

    with pytest.raises(PublishNotAllowed, match="await adelete_channel"):
        asyncio.run(on_the_loop())


@pytest.mark.usefixtures("live")
@pytest.mark.options(RING_EVENTS=100, PAGE_EVENTS=30, WRITE_BYTES=200)
async def test_clients_that_have_all_events_notice_nothing_and_slower_ones_are_reset(
    log: EventLog,
) -> None:
    async with listening("a") as quick, connected("a", since="earliest") as slow:
        ids = await say(*numbers(1, 60))
        await quick.take(60)
        await slow.opened()
        assert texts(await slow.take(5)) == numbers(1, 5)
        assert await adelete_channel("a") == 60
        await eventually(lambda: get_hub().topics["a"].redactions)
        assert reason(await slow.next()) == "trimmed"
        await say("live")
        assert texts([await quick.next()]) == texts([await slow.next()]) == ["live"]
    async with connected("a", last_event_id=ids[3]) as client:
        assert reason(await client.next()) == "trimmed"
    async with listening("a", since="earliest") as client:
        assert texts([await client.next()]) == ["live"]


@pytest.mark.usefixtures("live")
async def test_a_deleted_channel_that_has_finished_has_nothing_more(log: EventLog) -> None:
    await say("1")
    assert await afinish("a")
    end = await run(cursor, "a")
    assert await adelete_channel("a") == 2
    with pytest.raises(ChannelFinished):
        await apublish("a", "late")
    stream = ChannelStream("a")
    stream.last_event_id = end
    assert not await stream.open()
    assert await write(lambda: log.sweep(WEEK)) == Swept()
    await write(lambda: age_row(log, "a", 8 * DAY))
    assert await write(lambda: log.sweep(WEEK)) == Swept(channels=1)
    assert await apublish("a", "of a new channel")


def test_a_channel_that_is_deleted_again_and_again_goes_on_counting(log: EventLog) -> None:
    for number in range(1, 4):
        publish("a", "x")
        assert delete_channel("a") == 1
        assert log.heads(["a"])["a"].head == number
