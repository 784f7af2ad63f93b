"""A run whose log is rewound gets one end as interrupted, and never looks complete."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from django_sse.hub.registry import get_hub
from django_sse.log import EventLog
from django_sse.log.memory import MemoryLog
from django_sse.models import Channel, Run
from django_sse.process import database
from django_sse.runs import ends, store
from django_sse.runs.task import RunTask
from django_sse.wire import Event
from tests.appending import append_to
from tests.rewinding import Copy
from tests.unit.hub.support import Client, eventually
from tests.unit.log.support import entry
from tests.unit.runs.support import (
    INTERRUPTED,
    Answer,
    arecords,
    asay,
    astate,
    begin,
    failures,
    over,
    settles,
    terminals,
    watching,
)

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("storage", "log", "live"),
    pytest.mark.options(SAFETY_INTERVAL=3600.0),
]

# The number of events, of which the restore removes the last two.
BEFORE = 4
GONE = 2

Change = Callable[[EventLog, Run, Copy], Coroutine[Any, Any, None]]


async def put_back(log: EventLog, run: Run, copy: Copy) -> None:
    await database.write(copy.restore)


async def put_back_and_written_to(log: EventLog, run: Run, copy: Copy) -> None:
    await put_back(log, run, copy)
    entries = [entry(run.channel, f"other {number}") for number in range(GONE)]
    await database.write(append_to, log, entries)


async def wiped(log: EventLog, run: Run, copy: Copy) -> None:
    if isinstance(log, MemoryLog):
        del log._keys[log._channels.pop(run.channel).key]
    else:
        await database.write(Channel.objects.filter(name=run.channel).delete)


@pytest.fixture(params=[put_back, put_back_and_written_to, wiped])
def change(request: pytest.FixtureRequest) -> Change:
    found: Change = request.param
    return found


@pytest.fixture(params=["at once", "at the next event", "at the end of its loop"])
def noticed(request: pytest.FixtureRequest) -> str:
    """When the run notices: while its generator is idle, at its next event, or at its end."""
    found: str = request.param
    return found


async def interrupted(
    log: EventLog, change: Change, noticed: str, dialect: str | None = None
) -> tuple[RunTask, Answer, list[Event]]:
    """Return a run whose log was changed, its generator, and the events that a client got."""
    answer = Answer()
    task = await begin(answer.items(), dialect=dialect)
    async with watching(task.run) as client:
        copy = await said(task, answer, BEFORE - GONE, log)
        await said(task, answer, BEFORE, log)
        events = [await client.next()]
        topic = get_hub().topics[task.run.channel]
        await eventually(lambda: topic.ring.tail == BEFORE)
        await change(log, task.run, copy)
        if noticed == "at once":
            await get_hub().check(topic)
        elif noticed == "at the next event":
            answer.go_on()
        else:
            assert task._writer is not None
            task._writer.cancel()
        await over(task)
        await answer.ended.wait()
        events += await rest(client, noticed)
    return task, answer, [Event(each.data, each.type) for each in events]


async def said(task: RunTask, answer: Answer, count: int, log: EventLog) -> Copy:
    """Let it append ``count`` events in all; return a copy of the log."""
    await eventually(lambda: task._channel.position.seq)
    answer.go_on(count - task._channel.position.seq)
    await eventually(lambda: task._channel.position.seq == count)
    return await database.run(Copy, log, task.run.channel)


async def stored(run: Run) -> Run:
    found = await database.run(store.find, run.pk)
    assert found is not None
    return found


async def rest(client: Client, noticed: str) -> list[Any]:
    if noticed == "at once":
        return await client.rest()
    # Only the run itself reads the log here, and it does not announce that a channel is gone.
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            return await client.rest()
    return []


async def test_it_ends_once_as_interrupted_and_its_generator_is_cancelled(
    log: EventLog, change: Change, noticed: str
) -> None:
    task, answer, _ = await interrupted(log, change, noticed)
    assert answer.notes == ["cancelled", "ended"]
    records = await arecords(task.run)
    if change is wiped:
        assert await database.run(log.heads, [task.run.channel]) == {}
        assert not await settles(task.run, None)
    else:
        *before, last = records
        assert terminals(records) == [last]
        assert json.loads(last.data) == INTERRUPTED
        assert [each.data for each in before][: BEFORE - GONE] == ["token 0", "token 1"]
        assert len(before) == (BEFORE if change is put_back_and_written_to else BEFORE - GONE)
    found = await stored(task.run)
    assert found.ended is not None
    # A loop that ends does not wait for its generators. Their slots are freed with its lease.
    assert found.slot is None or noticed == "at the end of its loop"
    assert await astate(found) == "error"


@pytest.mark.parametrize("noticed", ["at once"], indirect=True)
async def test_its_clients_start_over_and_get_the_end(
    log: EventLog, change: Change, noticed: str
) -> None:
    _, _, events = await interrupted(log, change, noticed)
    types = [event.event for event in events]
    assert types.count("stream-reset") == types.count("error") == 1
    after = [str(event.data) for event in events[types.index("stream-reset") + 1 :]]
    if change is wiped:
        assert [json.loads(text)["code"] for text in after] == ["interrupted"]
    else:
        assert after[:2] == ["token 0", "token 1"]
        assert json.loads(after[-1]) == INTERRUPTED
    assert "[DONE]" not in after


@pytest.mark.parametrize("noticed", ["at once"], indirect=True)
async def test_in_a_dialect_their_answer_breaks_off(
    log: EventLog, change: Change, noticed: str
) -> None:
    _, _, events = await interrupted(log, change, noticed, "openai-chat")
    assert failures("openai-chat", events) == 1
    assert not any((event.event or "").startswith("stream-") for event in events)
    assert "[DONE]" not in [event.data for event in events]


async def test_what_others_write_to_its_channel_ends_it_too(log: EventLog) -> None:
    """No part of the library does that. The answer would contain events that are not the run's."""
    answer = Answer()
    task = await begin(answer.items(2))
    await said(task, answer, 1, log)
    await asay(task.run, "a word from elsewhere")
    answer.go_on(2)
    await over(task)
    *before, last = await arecords(task.run)
    assert [each.data for each in before] == ["token 0", "a word from elsewhere"]
    assert json.loads(last.data) == INTERRUPTED


async def test_a_stop_of_one_whose_channel_is_gone_notes_that_it_is_over(log: EventLog) -> None:
    task = await begin(Answer().items())
    await wiped(log, task.run, None)  # type: ignore[arg-type]
    assert await database.write(ends.stop, task.run) is False
    assert await database.run(log.heads, [task.run.channel]) == {}
    assert (await stored(task.run)).ended is not None
