from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.http import Http404

from django_sse import apublish
from django_sse.exceptions import EventTooLarge, LogUnavailable, Overloaded, TooManyRuns
from django_sse.hub.registry import get_hub
from django_sse.log import get_log
from django_sse.log.base import Head
from django_sse.log.model import ModelLog
from django_sse.models import Channel, Run
from django_sse.process import database
from django_sse.runs import ends, store
from django_sse.runs.keeper import get_keeper
from django_sse.runs.start import find_by_position
from django_sse.streams import pulse
from tests.options import Overrides
from tests.unit.hub.support import eventually
from tests.unit.runs.support import (
    OWNER,
    TIMEOUT,
    Answer,
    anew_run,
    astate,
    atexts,
    begin,
    over,
    tokens,
    until,
)

pytestmark = pytest.mark.usefixtures("live")


async def nothing_is_left() -> bool:
    rows = await Run.objects.acount(), await Channel.objects.acount()
    return rows == (0, 0) and not get_hub().topics and not get_keeper().tasks


# -- what goes wrong before the first item


@pytest.mark.parametrize("error", [Http404("no"), PermissionDenied(), RuntimeError("broken")])
@pytest.mark.parametrize("sync", [False, True])
async def test_what_is_raised_before_the_first_item_is_raised_and_there_was_no_run(
    error: Exception, sync: bool
) -> None:
    async def failing() -> AsyncIterator[str]:
        raise error
        yield "never"

    def failing_sync() -> Iterator[str]:
        raise error
        yield "never"

    reported: list[BaseException] = []
    with pytest.raises(type(error)) as raised:
        await begin(failing_sync() if sync else failing(), on_error=reported.append)
    assert raised.value is error
    assert reported == []
    assert await nothing_is_left()


async def test_it_is_raised_also_if_the_run_cannot_be_removed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(runs: Any) -> None:
        raise LogUnavailable("the answer to the COMMIT is lost")

    async def failing() -> AsyncIterator[str]:
        raise ValueError("no model")
        yield "never"

    monkeypatch.setattr(store, "discard", away)
    with pytest.raises(ValueError, match="no model"):
        await begin(failing())
    assert "COMMIT is lost" in caplog.text
    # It takes no place.
    (run,) = [run async for run in Run.objects.all()]
    assert (run.ended is not None, run.slot) == (True, None)


async def test_a_first_value_that_cannot_be_is_raised_too() -> None:
    with pytest.raises(ValueError, match="openai-chat"):
        await begin([object()], dialect="openai-chat")
    assert await nothing_is_left()


async def test_a_first_value_that_the_log_refuses_is_raised_after_all_that_is_done_about_it(
    configure: Overrides,
) -> None:
    async def careful() -> AsyncIterator[str]:
        try:
            yield "x" * 2000
        finally:
            # The run's end is in the log before the generator has stopped.
            (topic,) = get_hub().topics.values()
            await eventually(lambda: topic.terminal)

    configure(MAX_EVENT_BYTES=1000)
    with pytest.raises(EventTooLarge):
        await begin(careful(), dialect="openai-chat")
    assert await nothing_is_left()


@pytest.mark.options(SYNC_GENERATORS=0)
async def test_a_thread_too_many_begins_no_run() -> None:
    with pytest.raises(Overloaded, match="SYNC_GENERATORS"):
        await begin(iter(["never"]))
    assert await nothing_is_left()


async def test_a_server_that_stops_begins_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "_draining_until", 0.0)
    pulse.drain()
    with pytest.raises(Overloaded, match="stop"):
        await begin(tokens(1))
    assert await nothing_is_left()


class AwayLog(ModelLog):
    """Cannot make a channel; or only the first time it is asked."""

    opened = 0
    may = 0

    def open(self, channels: Any) -> list[Head]:
        type(self).opened += 1
        if type(self).opened > self.may:
            raise LogUnavailable("away")
        return super().open(channels)

    def make(self, channels: Any) -> list[Head]:
        type(self).opened += 1
        if type(self).opened > self.may:
            raise LogUnavailable("away")
        return super().make(channels)


@pytest.mark.parametrize("may", [0, 1])
async def test_without_its_log_a_run_does_not_begin(configure: Overrides, may: int) -> None:
    began: list[bool] = []

    async def answer() -> AsyncIterator[str]:
        began.append(True)
        yield "never"

    configure(LOG=f"{__name__}.AwayLog")
    AwayLog.opened, AwayLog.may = 0, may
    with pytest.raises(LogUnavailable):
        await begin(answer())
    assert began == []


# -- the first item


async def test_it_is_begun_when_there_is_a_first_item() -> None:
    answer = Answer()
    task = await begin(answer.items())
    assert answer.began.is_set()
    assert list(get_keeper().tasks.values()) == [task]
    assert task.run.owner == OWNER


async def test_a_first_item_that_takes_its_time_is_not_waited_for(configure: Overrides) -> None:
    async def late() -> AsyncIterator[str]:
        await go_on.wait()
        yield "late"

    configure(OPEN_TIMEOUT=0.01)
    go_on = asyncio.Event()
    task = await begin(late())
    assert await atexts(task.run) == []
    go_on.set()
    await over(task)
    assert await atexts(task.run) == ["late", "[DONE]"]


async def test_an_error_that_comes_later_than_that_is_the_runs(configure: Overrides) -> None:
    async def late() -> AsyncIterator[str]:
        await go_on.wait()
        raise Http404
        yield "never"

    configure(OPEN_TIMEOUT=0.01)
    go_on = asyncio.Event()
    reported: list[BaseException] = []
    task = await begin(late(), on_error=reported.append)
    go_on.set()
    await over(task)
    assert await astate(task.run) == "error"
    assert [type(error) for error in reported] == [Http404]


async def test_the_run_of_a_client_that_left_meanwhile_goes_on(configure: Overrides) -> None:
    async def slow() -> AsyncIterator[str]:
        began.set()
        await go_on.wait()
        yield "one"

    configure(OPEN_TIMEOUT=60.0)
    began, go_on = asyncio.Event(), asyncio.Event()
    request = asyncio.create_task(begin(slow()))
    await began.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    go_on.set()
    await eventually(lambda: get_keeper().tasks)
    (task,) = get_keeper().tasks.values()
    await over(task)
    assert await atexts(task.run) == ["one", "[DONE]"]


async def test_what_it_raises_then_is_reported_and_there_was_no_run(configure: Overrides) -> None:
    async def fails() -> AsyncIterator[str]:
        began.set()
        await go_on.wait()
        raise RuntimeError("nobody is there to be told")
        yield "never"

    configure(OPEN_TIMEOUT=60.0)
    began, go_on = asyncio.Event(), asyncio.Event()
    reported: list[BaseException] = []
    request = asyncio.create_task(begin(fails(), on_error=reported.append))
    await began.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    go_on.set()
    await eventually(lambda: reported)
    assert str(reported[0]) == "nobody is there to be told"
    assert await nothing_is_left()


async def test_with_its_end_the_process_lets_go_of_it() -> None:
    task = await begin(tokens(3))
    await over(task)
    await eventually(lambda: not get_keeper().tasks)
    (topic,) = get_hub().topics.values()
    assert topic.waiters == set()
    assert topic.unused_since is not None


# -- as many as one owner may have


@pytest.mark.options(RUNS_PER_OWNER=2)
async def test_a_run_too_many_is_not_begun() -> None:
    answers = [Answer() for _ in range(3)]
    tasks = [await begin(answer.items()) for answer in answers[:2]]
    with pytest.raises(TooManyRuns):
        await begin(answers[2].items())
    assert not answers[2].began.is_set()
    await begin(tokens(1), owner="user:2")
    tasks[0].abort()
    await over(tasks[0])
    await begin(answers[2].items())
    assert answers[2].began.is_set()


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.options(RUNS_PER_OWNER=1)
async def test_a_run_that_was_stopped_counts_until_its_thread_is_back(
    monkeypatch: pytest.MonkeyPatch, sync: bool, elsewhere: bool
) -> None:
    def block() -> None:
        blocked.set()
        assert go_on.wait(60)

    def stuck() -> Iterator[str]:
        yield "one"
        block()

    async def stuck_in_a_call() -> AsyncIterator[str]:
        yield "one"
        await sync_to_async(block)()

    monkeypatch.setattr("django_sse.runs.start._STOPPING", 0.0)
    blocked, go_on = threading.Event(), threading.Event()
    task = await begin(stuck() if sync else stuck_in_a_call())
    await asyncio.to_thread(blocked.wait, 60)
    if elsewhere:
        # As another process does it.
        await sync_to_async(ends.stop)(task.run)
    else:
        task.abort()
        await eventually(lambda: task._topic is not None and task._topic.terminal)
    assert await astate(task.run) == "aborted"
    never = Answer()
    with pytest.raises(TooManyRuns):
        await begin(never.items())
    assert not never.began.is_set()
    go_on.set()
    await over(task)
    await over(await begin(tokens(1)))


@pytest.mark.options(RUNS_PER_OWNER=1)
async def test_the_next_answer_waits_a_moment_for_the_one_that_was_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stuck() -> Iterator[str]:
        yield "one"
        assert refused.wait(TIMEOUT)

    def stopping(owner: str) -> bool:
        # The next start has found no slot.
        found = look(owner)
        refused.set()
        return found

    refused, look = threading.Event(), store.stopping
    monkeypatch.setattr(store, "stopping", stopping)
    monkeypatch.setattr("django_sse.runs.start._STOPPING", TIMEOUT)
    task = await begin(stuck())
    await sync_to_async(ends.stop)(task.run)
    await over(await begin(tokens(1)))
    assert refused.is_set()


@pytest.mark.options(RUNS_PER_OWNER=1, LEASE=1.0)
async def test_the_dead_count_until_it_is_known_that_they_are() -> None:
    dead = await anew_run(OWNER)
    with pytest.raises(TooManyRuns):
        await begin(tokens(1))
    # From now on the keeper looks whether its process is alive.
    await until(dead, "error")
    task = await begin(tokens(1))
    await over(task)
    assert await astate(task.run) == "done"


async def test_one_that_failed_at_once_leaves_its_place(configure: Overrides) -> None:
    async def failing() -> AsyncIterator[str]:
        raise Http404
        yield "never"

    configure(RUNS_PER_OWNER=1)
    for _ in range(3):
        with pytest.raises(Http404):
            await begin(failing())
    await begin(tokens(1))


# -- back to it


async def test_a_run_is_found_by_the_id_of_any_of_its_events() -> None:
    task = await begin(tokens(2))
    other = await begin(tokens(2))
    for run in (task.run, other.run):
        for position in ("0-0", "1-tagtag", "3-tagtag"):
            found = await sync_to_async(find_by_position)(f"{run.epoch}-{position}")
            assert found == run


@pytest.mark.parametrize(
    "position",
    [
        "",
        "x",
        "!end",
        "AAAAAAAAAAA-1-tagtag",
        "a-1-tagtag",
        "1",
        "AAAAAAAAAAA-",
        "ü-1",
        "\0",
        "a.b",
    ],
)
async def test_what_is_no_position_of_a_run_finds_none(position: str) -> None:
    await begin(tokens(1))
    assert await sync_to_async(find_by_position)(position) is None


async def test_the_position_of_several_channels_or_of_another_is_none_of_a_run() -> None:
    task = await begin(tokens(1))
    published = await apublish("room", "hello")
    for position in (published, f"{task.run.epoch}-0-0.{published}"):
        assert await sync_to_async(find_by_position)(str(position)) is None


async def test_a_run_that_was_removed_is_not_found() -> None:
    task = await begin(tokens(1))
    await over(task)
    await sync_to_async(store.discard)([task.run])
    assert await sync_to_async(find_by_position)(f"{task.run.epoch}-1") is None
    assert await database.run(get_log().heads, [task.run.channel]) == {}
