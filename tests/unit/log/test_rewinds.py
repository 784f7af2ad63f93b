"""A log that lost events and got as many others: each client that had lost events is reset.

Numbers and times are the same in both logs. Only the tags differ.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from django_sse import afinish, finish, publish
from django_sse.hub.channel_stream import ChannelStream
from django_sse.hub.position import settle
from django_sse.hub.registry import get_hub
from django_sse.log import EventLog
from django_sse.log.base import Head
from django_sse.log.memory import MemoryLog
from django_sse.models import StoredEvent
from django_sse.process.database import run, write
from django_sse.wire import make_epoch
from tests.options import Overrides
from tests.positions import id_of
from tests.rewinding import Copy
from tests.unit.hub.support import Client, connected, listening, numbers, texts
from tests.unit.log import streams
from tests.unit.log.streams import reason, say
from tests.unit.log.support import elsewhere, run_python

# Fixtures.
configure, live = streams.configure, streams.live

pytestmark = [
    pytest.mark.django_db(transaction=True, available_apps=["django_sse"]),
    pytest.mark.usefixtures("storage"),
]

EVENTS = 10
COUNTS = [1, 3, EVENTS]


def others(count: int) -> list[str]:
    """The data of the events that replace the last ``count`` events."""
    return [f"other {number}" for number in range(count)]


async def publish_others(how: str, count: int) -> None:
    if how == "apublish":
        await say(*others(count))
    elif how == "publish":
        await asyncio.to_thread(elsewhere, lambda: [publish("a", each) for each in others(count)])
    else:
        code = f"for each in {others(count)}: publish('a', each)"
        assert await asyncio.to_thread(run_python, code) == (0, "")


async def rewrite(log: EventLog, copy: Copy, how: str, count: int) -> None:
    await write(copy.restore)
    await publish_others(how, count)


@pytest.fixture(params=["publish", "apublish", "another process"])
def how(request: pytest.FixtureRequest, log: EventLog) -> str:
    """The way in which the other events are published after the restore."""
    found: str = request.param
    if found == "another process" and isinstance(log, MemoryLog):
        pytest.skip("no other process sees a log in memory")
    return found


# -- connected clients


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize("count", COUNTS)
async def test_a_connected_client_is_reset_once_and_goes_on_in_the_new_log(
    log: EventLog, how: str, count: int
) -> None:
    await run(log.make, ["a"])
    async with listening("a") as first, listening("a") as second:
        await say(*numbers(1, EVENTS - count))
        copy = await run(Copy, log, "a")
        await say(*numbers(EVENTS - count + 1, EVENTS))
        for client in (first, second):
            assert texts(await client.take(EVENTS)) == numbers(1, EVENTS)
        await rewrite(log, copy, how, count)
        if how == "another process":
            # Only now: a look between the restore and the last event would see fewer events.
            get_hub().check_soon()
        for client in (first, second):
            # Without a new event.
            assert reason(await client.next()) == "rewound"
        (last,) = await say("live")
        for client in (first, second):
            events = await client.take_until("live")
            assert {event.type for event in events} == {"message"}
            # It got the reset at one of the other events, and gets the rest.
            assert texts(events) == [*others(count), "live"][-len(events) :]
            assert events[-1].last_event_id == last
    # A new client finds nothing of the old log in memory.
    async with listening("a", since="earliest") as fresh:
        there = [*numbers(1, EVENTS - count), *others(count), "live"]
        assert texts(await fresh.take(len(there))) == there


@pytest.mark.usefixtures("live")
async def test_a_log_that_only_lost_events_resets_clients_too(
    log: EventLog, configure: Overrides
) -> None:
    configure(SAFETY_INTERVAL=0.05)
    async with listening("a") as client:
        await say("1")
        copy = await run(Copy, log, "a")
        await say("2", "3")
        await client.take(3)
        await write(copy.restore)
        assert reason(await client.next()) == "rewound"
        assert client.last_event_id == await run(id_of, "a", 1)


@pytest.mark.usefixtures("live")
async def test_a_connected_client_notices_nothing_of_a_dump_that_is_loaded(
    log: EventLog, configure: Overrides
) -> None:
    configure(SAFETY_INTERVAL=0.01)
    async with listening("a") as client:
        ids = await say(*numbers(1, EVENTS))
        await client.take(EVENTS)
        copy = await run(Copy, log, "a")
        await write(copy.restore)
        async with connected("a", last_event_id=ids[3]) as late:
            assert (await late.opened()).last_event_id == ids[3]
            assert texts(await late.take(EVENTS - 4)) == numbers(5, EVENTS)
        await say("live")
        assert texts([await client.next()]) == ["live"]
        assert get_hub().topics["a"].generation == 0


# -- clients that reconnect


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside a live client"])
async def test_a_client_that_reconnects_is_reset_only_if_it_had_lost_events(
    log: EventLog, how: str, count: int, alone: bool
) -> None:
    await run(log.make, ["a"])
    ids = await say(*numbers(1, EVENTS - count))
    copy = await run(Copy, log, "a")
    ids += await say(*numbers(EVENTS - count + 1, EVENTS))
    beside = ChannelStream("a")
    if not alone:
        await Client(beside).opened()
    await rewrite(log, copy, how, count)
    now = [*numbers(1, EVENTS - count), *others(count)]
    for seq in (1, EVENTS - count, EVENTS - count + 1, EVENTS):
        if not seq:
            continue
        async with connected("a", last_event_id=ids[seq - 1]) as client:
            if seq > EVENTS - count:
                assert reason(await client.next()) == "rewound"
                assert (await client.opened()).last_event_id == await run(id_of, "a", EVENTS)
            else:
                await client.opened()
                assert texts(await client.take(EVENTS - seq)) == now[seq:]
    async with connected("a", last_event_id=ids[-1]) as client:
        assert reason(await client.next()) == "rewound"
        await client.opened()
        await say("live")
        assert texts([await client.next()]) == ["live"]
    beside.close()


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("again", [False, True], ids=["goes on", "ends again"])
async def test_a_client_at_a_lost_end_is_reset_and_gets_no_204(
    log: EventLog, again: bool, trimmed: bool
) -> None:
    await say("1")
    copy = await run(Copy, log, "a")
    await say("2")
    assert await afinish("a")
    end = await run(id_of, "a", 3)
    stream = ChannelStream("a")
    stream.last_event_id = end
    assert not await stream.open()
    await write(copy.restore)
    await say("other")
    if again:
        assert await afinish("a", state="error")
    else:
        await say("one more")
    if trimmed:
        await write(lambda: log.trim("a", count=0))
    async with connected("a", last_event_id=end) as client:
        assert reason(await client.next()) == "rewound"
        assert (await client.opened()).last_event_id == await run(id_of, "a", 3)
        if again:
            assert await client.rest() == []
        else:
            await say("live")
            assert texts([await client.next()]) == ["live"]
    stream = ChannelStream("a")
    stream.last_event_id = await run(id_of, "a", 3)
    assert await stream.open() is not again


# -- comparing positions with the log


def judged(log: EventLog, position: str) -> str:
    """Why the log cannot honour a client's position; empty if it can."""
    return settle(log, ["a"], position, "now").resets.get(0, "")


def set_clock_of_all(log: EventLog) -> None:
    """All events were created at one moment, as by a clock that was set back."""
    moment = datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC)
    if isinstance(log, MemoryLog):
        found = log._channels["a"]
        found.created = [moment] * len(found.created)
    else:
        StoredEvent.objects.update(created=moment)


@pytest.mark.usefixtures("configure")
@pytest.mark.parametrize("kept", [EVENTS, 5, 3, 2, 1, 0], ids=lambda kept: f"{kept} kept")
@pytest.mark.parametrize("same_clock", [False, True])
@pytest.mark.parametrize("redacted", [0, 2, 9], ids=lambda seq: f"{seq or 'nothing'} redacted")
def test_old_positions_differ_from_new_ones_at_the_head_at_the_floor_and_between(
    log: EventLog, kept: int, same_clock: bool, redacted: int
) -> None:
    count = 3
    old = [publish("a", each) or "" for each in numbers(1, EVENTS - count)]
    if same_clock:
        set_clock_of_all(log)
    copy = Copy(log, "a")
    old += [publish("a", each) or "" for each in numbers(EVENTS - count + 1, EVENTS)]
    assert [judged(log, each) for each in old] == [""] * EVENTS
    copy.restore()
    for each in others(count):
        publish("a", each)
    if same_clock:
        set_clock_of_all(log)
    new = [id_of("a", seq) for seq in range(1, EVENTS + 1)]
    assert old[: EVENTS - count] == new[: EVENTS - count]
    assert not redacted or log.redact("a", redacted)
    log.trim("a", count=kept)
    floor = EVENTS - kept
    honoured = ["trimmed" if seq < floor else "" for seq in range(1, EVENTS + 1)]
    assert [judged(log, each) for each in new] == honoured
    assert [judged(log, each) for each in old] == [
        reason or ("rewound" if seq > EVENTS - count else "")
        for seq, reason in enumerate(honoured, start=1)
    ]


@pytest.mark.usefixtures("configure")
def test_a_position_from_before_the_first_event_is_honoured_by_each_of_the_logs(
    log: EventLog,
) -> None:
    (head,) = log.make(["a"])
    copy = Copy(log, "a")
    publish("a", "1")
    copy.restore()
    publish("a", "other")
    assert judged(log, str(head.position)) == ""
    log.trim("a", count=0)
    assert judged(log, str(head.position)) == "trimmed"


# -- what a client made up


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize(
    "bogus",
    [
        "{epoch}-1-000000",
        "{epoch}-5-000000",
        "{epoch}-10-000000",
        "{epoch}-11-000000",
        "{epoch}-9223372036854775807-vvvvvv",
        "{foreign}-5-000000",
        "nonsense",
    ],
)
@pytest.mark.parametrize("ended", [False, True])
async def test_a_position_that_a_client_made_up_resets_that_client_alone(
    log: EventLog, bogus: str, ended: bool, configure: Overrides
) -> None:
    configure(SAFETY_INTERVAL=0.01)

    async def head() -> Head:
        return (await run(log.heads, ["a"]))["a"]

    async with listening("a") as other:
        await say(*numbers(1, EVENTS - 1))
        await (asyncio.to_thread(elsewhere, lambda: finish("a")) if ended else say("10"))
        before = await head()
        position = bogus.format(epoch=before.epoch, foreign=make_epoch())
        for _ in range(3):
            async with connected("a", last_event_id=position) as client:
                assert reason(await client.next()) in ("rewound", "unknown", "malformed")
                assert (await client.opened()).last_event_id == str(before.position)
                if ended:
                    assert await client.rest() == []
        assert await head() == before
        if not ended:
            await say("live")
        expected = [*numbers(1, EVENTS - 1), *(["[DONE]"] if ended else ["10", "live"])]
        assert texts(await other.take(len(expected))) == expected
        assert get_hub().topics["a"].generation == 0
