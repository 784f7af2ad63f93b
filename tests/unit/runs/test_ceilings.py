"""A run that reaches a ceiling, in its own process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from django_sse.runs.keeper import get_keeper
from django_sse.wire import Event
from tests.generators import in_form
from tests.options import Overrides
from tests.unit.dialects.support import NAMES
from tests.unit.hub.support import eventually
from tests.unit.runs.support import (
    Answer,
    arecords,
    astate,
    atexts,
    begin,
    failures,
    over,
    terminals,
)

pytestmark = pytest.mark.usefixtures("live")

SECONDS = {"error": "The answer took longer than the server allows.", "code": "limit_seconds"}
EVENTS = {"error": "The answer has more events than the server allows.", "code": "limit_events"}
BYTES = {"error": "The answer is larger than the server allows.", "code": "limit_bytes"}


class Endless:
    """A generator that never ends by itself, and notes when it is closed."""

    def __init__(self, value: Any = "x") -> None:
        self.value = value
        self.closed = threading.Event()

    def items(self) -> Generator[Any]:
        try:
            while True:
                yield self.value
        finally:
            self.closed.set()


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(
    ("limit", "value", "most", "said"),
    [
        ({"RUN_EVENTS": 250}, "x", 250, EVENTS),
        # Each has six bytes.
        ({"RUN_BYTES": 60}, "é€x", 10, BYTES),
        ({"RUN_BYTES": 61}, Event({"é": 1}, event="tick"), 8, BYTES),
    ],
)
async def test_a_generator_without_an_end_is_closed_at_the_ceiling(
    configure: Overrides,
    caplog: pytest.LogCaptureFixture,
    limit: dict[str, Any],
    value: Any,
    most: int,
    said: dict[str, str],
    sync: bool,
) -> None:
    configure(**limit)
    endless = Endless(value)
    task = await begin(in_form(sync, endless.items()))
    await over(task)
    *events, last = await atexts(task.run)
    assert (len(events), json.loads(last)) == (most, said)
    assert await astate(task.run) == "error"
    assert endless.closed.is_set()
    (setting,) = limit
    (line,) = [record.message for record in caplog.records if "reached" in record.message]
    assert str(task.run.pk) in line
    assert setting in line


@pytest.mark.options(RUN_EVENTS=3, RUN_BYTES=3)
async def test_an_answer_that_is_as_large_as_it_may_be_is_whole() -> None:
    task = await begin(["a", "b", "c"])
    await over(task)
    assert await atexts(task.run) == ["a", "b", "c", "[DONE]"]
    assert await astate(task.run) == "done"


async def test_the_finally_of_a_generator_that_is_closed_may_await(configure: Overrides) -> None:
    async def careful() -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    configure(RUN_EVENTS=5)
    cleaned = asyncio.Event()
    task = await begin(careful())
    await over(task)
    assert cleaned.is_set()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ceiling", ["RUN_EVENTS", "RUN_BYTES", "RUN_SECONDS"])
async def test_no_dialects_answer_looks_whole(
    configure: Overrides, name: str, ceiling: str
) -> None:
    async def answer() -> AsyncIterator[str]:
        yield "Hel"
        yield "lo"
        if ceiling == "RUN_SECONDS":
            await asyncio.Event().wait()
        while True:
            yield "x" * 100

    configure(**{ceiling: 0.2 if ceiling == "RUN_SECONDS" else 2000})
    task = await begin(answer(), dialect=name)
    await over(task)
    records = await arecords(task.run)
    assert failures(name, [Event(each.data, each.type or None) for each in records]) == 1
    assert terminals(records) == [records[-1]]
    assert await astate(task.run) == "error"


@pytest.mark.options(RUN_SECONDS=0.1)
async def test_a_generator_that_waits_too_long_is_cancelled() -> None:
    answer = Answer()
    task = await begin(answer.items())
    await over(task)
    assert answer.notes == ["cancelled", "ended"]
    first, last = await atexts(task.run)
    assert (first, json.loads(last)) == ("token 0", SECONDS)
    assert await astate(task.run) == "error"


@pytest.mark.options(RUN_SECONDS=0.1)
async def test_a_run_whose_thread_is_stuck_ends_and_the_thread_comes_back_later() -> None:
    def stuck() -> Iterator[str]:
        yield "one"
        assert go_on.wait(60)
        yield "two"

    go_on = threading.Event()
    task = await begin(stuck())
    async with asyncio.timeout(60):
        while await astate(task.run) == "":  # noqa: ASYNC110 - the log tells nobody here
            await asyncio.sleep(0.01)
    # The process still has it.
    assert task.run.pk in get_keeper().tasks
    go_on.set()
    await over(task)
    first, last = await atexts(task.run)
    assert (first, json.loads(last)) == ("one", SECONDS)


async def test_a_first_item_that_never_comes_is_waited_for_no_longer_than_that(
    configure: Overrides,
) -> None:
    async def silent() -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield "never"

    configure(OPEN_TIMEOUT=60.0, RUN_SECONDS=0.05)
    task = await begin(silent())
    await over(task)
    (last,) = await atexts(task.run)
    assert json.loads(last) == SECONDS


async def test_a_run_that_ended_in_time_leaves_no_timer() -> None:
    task = await begin(["one"])
    await over(task)
    await eventually(task._timer.cancelled)
