"""A client of a run."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from django_sse import apublish
from django_sse.dialects import get_dialect
from django_sse.exceptions import LogUnavailable
from django_sse.hub.registry import get_hub, look_again
from django_sse.log import get_log
from django_sse.log.base import Head
from django_sse.log.model import ModelLog
from django_sse.models import Channel, Run, StoredEvent
from django_sse.process import database
from django_sse.runs import store
from django_sse.runs.ends import dialect_of
from django_sse.runs.keeper import get_keeper
from django_sse.runs.stream import RunStream
from django_sse.streams.driver import Driver
from django_sse.streams.ends import UNAVAILABLE
from django_sse.streams.state import State as StreamState
from django_sse.wire import Event, MessageEvent
from django_sse.wire.cursor import make_nonce, tag_of
from tests.options import Overrides
from tests.positions import id_of
from tests.unit.dialects.support import NAMES
from tests.unit.hub.support import Client, eventually, texts
from tests.unit.runs.support import (
    INTERRUPTED,
    Answer,
    anew_run,
    asay,
    begin,
    failures,
    over,
    settles,
    tokens,
    watching,
)

pytestmark = pytest.mark.usefixtures("live")


async def finished(count: int = 5, **options: Any) -> Run:
    task = await begin(tokens(count), **options)
    await over(task)
    return task.run


async def trim(run: Run, keep: int) -> None:
    await database.run(lambda: get_log().trim(run.channel, count=keep))


async def at(run: Run, seq: int) -> str:
    """The id of an event of the run."""
    return await database.run(id_of, run.channel, seq)


# -- replay and live


async def test_a_client_without_a_position_gets_all_of_it() -> None:
    run = await finished(3)
    async with watching(run) as client:
        opening = await client.opened()
        assert opening.last_event_id == f"{run.epoch}-0-0"
        events = await client.rest()
    assert [(each.type, each.data) for each in events] == [
        ("message", "token 0"),
        ("message", "token 1"),
        ("message", "token 2"),
        ("close", "[DONE]"),
    ]
    assert [each.last_event_id for each in events] == [await at(run, n) for n in (1, 2, 3, 4)]


async def test_one_that_joins_in_the_middle_gets_the_past_and_the_rest() -> None:
    answer = Answer()
    task = await begin(answer.items(6))
    async with watching(task.run) as first:
        await first.opened()
        answer.go_on(2)
        assert texts(await first.take(3)) == ["token 0", "token 1", "token 2"]
        async with watching(task.run) as second:
            await second.opened()
            assert texts(await second.take(3)) == ["token 0", "token 1", "token 2"]
            answer.go_on(4)
            rest = ["token 3", "token 4", "token 5", "[DONE]"]
            assert texts(await first.rest()) == texts(await second.rest()) == rest


@pytest.mark.parametrize("seen", [0, 1, 4, 5])
async def test_one_that_comes_back_goes_on_where_it_was(seen: int) -> None:
    run = await finished(5)
    async with watching(run, await at(run, seen)) as client:
        await client.opened()
        events = await client.rest()
    assert texts(events) == [*(f"token {n}" for n in range(seen, 5)), "[DONE]"]


async def test_who_has_seen_the_end_gets_204() -> None:
    run = await finished(5)
    assert not await settles(run, await at(run, 6))
    assert await settles(run, await at(run, 5))
    assert await settles(run, None)


async def test_who_is_at_the_head_of_a_run_that_goes_on_waits() -> None:
    answer = Answer()
    task = await begin(answer.items(2))
    await eventually(lambda: task._channel.position.seq == 1)
    async with watching(task.run, await at(task.run, 1)) as client:
        await client.opened()
        answer.go_on(2)
        assert texts(await client.rest()) == ["token 1", "[DONE]"]


@pytest.mark.options(PAGE_EVENTS=7, RING_EVENTS=10)
async def test_a_replay_of_any_length_is_whole() -> None:
    run = await finished(100)
    async with watching(run) as client:
        await client.opened()
        assert texts(await client.rest()) == [*(f"token {n}" for n in range(100)), "[DONE]"]


# -- a position of something else


@pytest.mark.parametrize("what", ["another run", "another channel", "nonsense", "beyond the head"])
async def test_a_position_of_something_else_is_told_and_all_is_sent(what: str) -> None:
    run, other = await finished(3), await finished(9)
    position = {
        "another run": await at(other, 2),
        "another channel": str(await apublish("room", "x")),
        "nonsense": "?",
        "beyond the head": f"{run.epoch}-99-tagtag",
    }[what]
    async with watching(run, position) as client:
        reset = await client.next()
        assert reset.type == "stream-reset"
        assert reset.last_event_id == f"{run.epoch}-0-0"
        await client.opened()
        assert texts(await client.rest()) == ["token 0", "token 1", "token 2", "[DONE]"]


async def test_in_a_dialect_all_is_sent_and_nothing_else() -> None:
    run, other = await finished(3, dialect="ai-sdk"), await finished(9)
    async with watching(run, None) as client:
        whole = await client.rest()
    async with watching(run, await at(other, 2)) as client:
        assert await client.rest() == whole
    assert "stream-reset" not in {event.type for event in whole}
    assert "stream-open" not in {event.type for event in whole}


# -- what was removed


async def test_of_a_trimmed_run_nothing_more_is_given_to_who_lacks_that_part() -> None:
    run = await finished(10)
    await trim(run, 4)
    for position in (None, await at(run, 3), "nonsense"):
        assert not await settles(run, position)
    # The floor is 7: a client that has event 7 lacks nothing.
    async with watching(run, await at(run, 7)) as client:
        await client.opened()
        assert texts(await client.rest()) == ["token 7", "token 8", "token 9", "[DONE]"]


@pytest.mark.options(PAGE_EVENTS=2, RING_EVENTS=2, WRITE_BYTES=40)
async def test_trimmed_while_it_is_read_the_client_is_told() -> None:
    run = await finished(30)
    async with watching(run) as client:
        await client.opened()
        assert texts(await client.take(1)) == ["token 0"]
        await trim(run, 4)
        events = await client.rest()
    resets = [event for event in events if event.type == "stream-reset"]
    assert [json.loads(event.data)["reason"] for event in resets] == ["trimmed"]
    # What was read before it was trimmed may still come; after the reset nothing does twice.
    numbers = [int(text.split()[1]) for text in texts(events) if text.startswith("token")]
    assert numbers == sorted(set(numbers))


async def test_a_redacted_event_is_left_out() -> None:
    run = await finished(3)
    assert await database.write(get_log().redact, run.channel, 2)
    await database.write(look_again, [run.channel])
    await eventually(lambda: get_hub().topics[run.channel].redactions)
    async with watching(run) as client:
        await client.opened()
        assert texts(await client.rest()) == ["token 0", "token 2", "[DONE]"]


async def test_of_a_run_that_was_discarded_nothing_is_left() -> None:
    run = await finished(3)
    await database.run(store.discard, [run])
    assert await database.run(get_log().heads, [run.channel]) == {}


# -- a run whose process died


@pytest.mark.options(LEASE=1.0)
async def test_a_run_that_lost_its_process_ends_when_somebody_asks_for_it() -> None:
    run = await anew_run()
    await asay(run, "one")
    async with watching(run) as client:
        await client.opened()
        first, last = await client.rest()
    assert (first.data, json.loads(last.data)) == ("one", INTERRUPTED)
    assert last.type == "error"
    assert not await settles(run, last.last_event_id)


# -- who watches


async def test_it_is_watched_from_the_first_chunk_to_the_end() -> None:
    answer = Answer()
    task = await begin(answer.items())
    watched = get_keeper()._watched
    async with watching(task.run) as client:
        assert task.run.pk not in watched
        await client.opened()
        assert watched[task.run.pk] == 1
        async with watching(task.run) as second:
            await second.opened()
            assert watched[task.run.pk] == 2
    assert task.run.pk not in watched


async def test_a_client_that_leaves_ends_nothing() -> None:
    answer = Answer()
    task = await begin(answer.items(3))
    async with watching(task.run) as client:
        await client.opened()
        await client.next()
    answer.go_on(3)
    await over(task)
    assert answer.notes == ["ended"]


async def test_closed_while_it_begins_it_is_not_watched_for_ever() -> None:
    run = await finished(1)
    stream = RunStream(run, dialect_of(run))
    client = Client(stream)
    reading = asyncio.create_task(client.chunk())
    await asyncio.sleep(0)
    assert (stream.state, client.chunks) == (StreamState.OPEN, [])
    stream.close()
    with pytest.raises(StopAsyncIteration):
        await reading
    assert run.pk not in get_keeper()._watched
    assert not any(stream in topic.waiters for topic in get_hub().topics.values())


# -- when the server stops


async def test_told_to_stop_a_client_is_sent_elsewhere() -> None:
    answer = Answer()
    task = await begin(answer.items())
    async with watching(task.run) as client:
        await client.opened()
        await client.next()
        client.stream.drain()
        (event,) = await client.rest()
    assert event.type == "stream-retry"
    assert answer.notes == []


@pytest.mark.parametrize("name", NAMES)
async def test_in_a_dialect_who_comes_back_by_itself_is_told_nothing(name: str) -> None:
    answer = Answer()
    task = await begin(answer.items(), dialect=name)
    async with watching(task.run) as client:
        events = [await client.next()]
        client.stream.drain()
        events += await client.rest()
    # No error, and no end.
    decoder = get_dialect(name).decoder()
    for event in events:
        decoder.decode(Event(event.data, event.type))
    assert not decoder.ended
    assert client.last_event_id == events[-1].last_event_id


@pytest.mark.parametrize("name", NAMES)
async def test_and_who_does_not_is_told_in_the_dialect_that_this_was_not_all(name: str) -> None:
    answer = Answer()
    task = await begin(answer.items(), dialect=name)
    async with watching(task.run, reconnects=False) as client:
        events = [await client.next()]
        client.stream.drain()
        events += await client.rest()
    assert failures(name, [Event(each.data, each.type) for each in events]) == 1
    # The run itself goes on.
    assert answer.notes == []
    # An id would be a position, and this is none.
    assert events[-1].last_event_id != "!end"


@pytest.mark.parametrize("seen", [0, 1, 4])
async def test_the_goodbye_goes_on_where_the_client_is(seen: int) -> None:
    answer = Answer()
    task = await begin(answer.items(), dialect="openai-responses")
    await eventually(lambda: task._channel.position.seq >= 4)
    position = await at(task.run, seen) if seen else None
    async with watching(task.run, position, reconnects=False) as client:
        events = await client.take(1) if seen < 4 else []
        client.stream.drain()
        events += await client.rest()
    said = [json.loads(event.data) for event in events]
    # One response, whose events are counted through.
    first = seen
    assert [each["sequence_number"] for each in said] == list(range(first, first + len(said)))
    created = [each for each in said if each["type"] == "response.created"]
    assert len(created) == (not seen)
    assert said[-1]["type"] in ("error", "response.failed")


class FickleLog(ModelLog):
    """Is away while its test says so."""

    away = False

    def open(self, channels: Any) -> list[Head]:
        if type(self).away:
            raise LogUnavailable("away")
        return super().open(channels)


async def test_so_does_that_of_a_log_that_goes_away_before_the_stream_begins(
    configure: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(LOG=f"{__name__}.FickleLog")
    run = await finished(3, dialect="openai-responses")
    async with watching(run, await at(run, 5), reconnects=False) as client:
        get_hub().forget(run.channel)
        monkeypatch.setattr(FickleLog, "away", True)
        (event,) = await client.rest()
    said = json.loads(event.data)
    assert (said["type"], said["sequence_number"]) == ("error", 5)


@pytest.mark.parametrize("name", NAMES)
async def test_a_log_that_goes_away_is_told_as_that_and_not_as_a_server_that_stops(
    name: str, configure: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(LOG=f"{__name__}.FickleLog")
    run = await finished(3, dialect=name)
    async with watching(run, await at(run, 1), reconnects=False) as client:
        get_hub().forget(run.channel)
        monkeypatch.setattr(FickleLog, "away", True)
        events = await client.rest()
    assert failures(name, [Event(each.data, each.type) for each in events]) == 1
    said = "".join(event.data for event in events)
    assert UNAVAILABLE.message in said
    assert "stopped" not in said


@pytest.mark.parametrize("name", [None, *NAMES])
async def test_who_has_the_end_is_not_told_of_another(name: str | None) -> None:
    run = await finished(3, dialect=name)
    async with watching(run, reconnects=False) as client:
        whole = await replay(run)
        events = [await client.next()]
        while events[-1].last_event_id != whole[-1].last_event_id:
            events.append(await client.next())
        client.stream.drain()
        assert await client.rest() == []


async def replay(run: Run) -> list[MessageEvent]:
    async with watching(run) as client:
        return await client.rest()


@pytest.mark.parametrize("dialect", [None, "openai-chat"])
async def test_told_to_stop_before_the_first_event_a_client_gets_a_position(
    dialect: str | None,
) -> None:
    """An EventSource that has none would start a second run."""
    run = await finished(3, dialect=dialect)
    async with watching(run) as client:
        client.stream.drain()
        (event,) = await client.rest()
    assert (event.type, event.last_event_id) == ("stream-retry", f"{run.epoch}-0-0")


# -- another log, in the middle of an answer


async def rewrite(run: Run) -> None:
    """Restore the log's beginning, and publish the same texts again."""
    nonce = make_nonce()

    def write() -> None:
        channel = Channel.objects.filter(name=run.channel)
        channel.update(head_tag=tag_of(nonce))
        StoredEvent.objects.filter(channel=channel.get()).update(nonce=nonce)

    await database.write(write)
    await get_hub().check(get_hub().topics[run.channel])


async def test_a_log_that_is_another_one_is_told_and_all_of_it_is_sent() -> None:
    run = await finished(3)
    async with watching(run) as client:
        await client.opened()
        await rewrite(run)
        assert (await client.next()).type == "stream-reset"
        assert texts(await client.rest()) == ["token 0", "token 1", "token 2", "[DONE]"]


@pytest.mark.parametrize("reconnects", [False, True])
@pytest.mark.parametrize("name", NAMES)
async def test_in_a_dialect_it_breaks_the_answer_off(name: str, reconnects: bool) -> None:
    answer = Answer()
    task = await begin(answer.items(3), dialect=name)
    async with watching(task.run, reconnects=reconnects) as client:
        events = await client.take(1)
        await rewrite(task.run)
        answer.go_on(3)
        events += await client.rest()
    assert failures(name, [Event(each.data, each.type) for each in events]) == 1
    assert sum("token 0" in each.data for each in events) <= 1
    assert not any(each.type.startswith("stream-") for each in events)
    # Who came back with the position would get the whole behind the half that it has.
    assert events[-1].last_event_id == "!end"


async def test_a_parked_client_hears_it_too() -> None:
    answer = Answer()
    task = await begin(answer.items(3), dialect="openai-chat")
    ready: list[bool] = []

    class Told(Driver):
        pushes = True

        def ready(self) -> None:
            ready.append(True)

    async with watching(task.run) as client:
        client.stream.driver = Told()
        while await client.stream.__anext__():
            pass
        await rewrite(task.run)
        await eventually(lambda: ready)
        assert b"error" in client.stream.poll()
        assert client.stream.poll() is None
        with pytest.raises(StopAsyncIteration):
            await client.stream.__anext__()


@pytest.mark.options(PAGE_EVENTS=2, RING_EVENTS=2, WRITE_BYTES=40)
async def test_a_hole_in_the_middle_breaks_it_off_too() -> None:
    run = await finished(30, dialect="openai-chat")
    async with watching(run) as client:
        events = await client.take(1)
        await trim(run, 4)
        events += await client.rest()
    assert failures("openai-chat", [Event(each.data, each.type) for each in events]) == 1
    assert events[-1].data != "[DONE]"


async def test_a_run_whose_channel_is_gone_has_nothing_more() -> None:
    run = await finished()
    await database.run(lambda: Channel.objects.filter(name=run.channel).delete())
    run = await Run.objects.aget(pk=run.pk)
    assert not await settles(run, None)
