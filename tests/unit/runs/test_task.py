"""A run in the process that has it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from django_sse import DONE, Event
from django_sse.dialects import Finish, Reasoning, get_dialect
from django_sse.dialects.plain import PLAIN
from django_sse.exceptions import EventTooLarge, InexpressibleValue, LogUnavailable, StreamError
from django_sse.log import get_log
from django_sse.log.base import Appended, Entry, Outcome, State
from django_sse.log.model import ModelLog
from django_sse.models import Run
from django_sse.process import database
from django_sse.publishing import append, last_entries
from django_sse.runs import ends
from django_sse.runs.keeper import get_keeper
from django_sse.runs.task import RunTask
from tests.appending import append_to
from tests.generators import as_async, in_form
from tests.options import Overrides
from tests.unit.dialects.support import NAMES
from tests.unit.hub.support import eventually
from tests.unit.log.support import everything
from tests.unit.runs.support import (
    ABORTED,
    INTERRUPTED,
    TIMEOUT,
    Answer,
    aend,
    anew_run,
    arecords,
    astate,
    atexts,
    begin,
    over,
    terminals,
    tokens,
)

pytestmark = pytest.mark.usefixtures("live")


async def noted(run: Run) -> bool:
    """Whether the row says that it ended."""
    found = await Run.objects.aget(pk=run.pk)
    return found.ended is not None and found.slot is None


async def begin_and_log_one(source: Any) -> RunTask:
    """A run whose first event, and no other, is in the log."""
    task = await begin(source)
    await eventually(lambda: task._channel.position.seq == 1)
    return task


# -- from the first item to the end


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("count", [0, 1, 1000])
async def test_all_that_is_yielded_is_in_the_log_in_order_and_once(count: int, sync: bool) -> None:
    expected = [f"token {number}" for number in range(count)]
    task = await begin(iter(expected) if sync else tokens(count))
    await over(task)
    assert await atexts(task.run) == [*expected, "[DONE]"]
    assert await astate(task.run) == "done"
    assert await noted(task.run)


async def test_an_item_is_in_the_log_before_the_next_one_is_made() -> None:
    answer = Answer()
    task = await begin(answer.items())
    async with asyncio.timeout(60):
        while await atexts(task.run) != ["token 0"]:  # noqa: ASYNC110 - the log tells nobody here
            await asyncio.sleep(0.01)
    assert not answer.notes
    assert not await noted(task.run)


async def test_events_keep_their_types() -> None:
    task = await begin([Event({"a": 1}, event="tick"), "text"])
    await over(task)
    assert [(each.type, each.data) for each in await arecords(task.run)] == [
        ("tick", '{"a":1}'),
        ("", "text"),
        ("close", "[DONE]"),
    ]


async def test_an_answer_in_a_dialect_is_the_dialects_to_its_end() -> None:
    async def answer() -> AsyncIterator[Any]:
        yield "Hel"
        yield "lo"
        yield Finish("length")

    task = await begin(answer(), dialect="openai-chat")
    await over(task)
    (*chunks, last) = await arecords(task.run)
    assert (last.data, terminals([*chunks, last])) == ("[DONE]", [last])
    choices = [json.loads(chunk.data)["choices"][0] for chunk in chunks]
    assert "".join(each["delta"].get("content") or "" for each in choices) == "Hello"
    assert choices[-1]["finish_reason"] == "length"
    assert task.run.dialect == "openai-chat"


class SlowLog(ModelLog):
    """Counts what is appended at once, and holds it until it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.sizes: list[int] = []

    def append_free(
        self, groups: Sequence[Sequence[Entry]]
    ) -> tuple[list[Appended], list[Outcome]]:
        self.sizes += [len(group) for group in groups]
        assert self.let.wait(60)
        return super().append_free(groups)


@pytest.mark.parametrize("sync", [False, True])
async def test_a_generator_is_a_bounded_number_of_items_ahead_of_the_log(
    configure: Overrides, sync: bool
) -> None:
    configure(LOG=f"{__name__}.SlowLog")
    log = get_log()
    assert isinstance(log, SlowLog)
    log.__init__()  # type: ignore[misc]
    made = 0

    async def endless() -> AsyncIterator[int]:
        nonlocal made
        for made in range(1, 1001):
            yield made

    def endless_sync() -> Iterator[int]:
        nonlocal made
        while made < 1000:
            made += 1
            yield made

    task = await begin(endless_sync() if sync else endless())
    await eventually(lambda: log.sizes)
    # It stops somewhere; how far it is tells what is kept in memory.
    stopped = -1
    while stopped != made:
        stopped = made
        await asyncio.sleep(0.05)
    assert made <= 202
    log.let.set()
    await over(task)
    assert await atexts(task.run) == [*map(str, range(1, 1001)), "[DONE]"]
    assert max(log.sizes) <= 100


# -- a generator that fails


def failing(error: Exception) -> Generator[str]:
    yield "one"
    raise error


@pytest.mark.parametrize("sync", [False, True])
async def test_an_error_in_the_middle_is_said_and_reported(sync: bool) -> None:
    errors: list[BaseException] = []
    error = RuntimeError("secret")
    task = await begin(in_form(sync, failing(error)), on_error=errors.append)
    await over(task)
    (_, last) = await arecords(task.run)
    assert json.loads(last.data) == {"error": "The stream failed.", "code": "error"}
    assert await astate(task.run) == "error"
    assert await noted(task.run)
    assert errors == [error]


async def test_a_text_for_the_client_is_its_to_read() -> None:
    task = await begin(as_async(failing(StreamError("out of paper"))))
    await over(task)
    assert json.loads((await atexts(task.run))[1]) == {"error": "out of paper", "code": "error"}


@pytest.mark.parametrize("stopped", [False, True])
async def test_an_error_in_finally_is_reported_and_changes_no_end_after_a_stop(
    stopped: bool,
) -> None:
    async def failing() -> AsyncIterator[str]:
        try:
            yield "one"
            if stopped:
                await asyncio.Event().wait()
        finally:
            raise RuntimeError("secret")

    errors: list[BaseException] = []
    task = await begin(failing(), on_error=errors.append)
    if stopped:
        await sync_to_async(ends.stop)(task.run)
    await over(task)
    records = await arecords(task.run)
    assert terminals(records) == [records[-1]]
    assert len(records) == 2 or stopped
    assert await astate(task.run) == ("aborted" if stopped else "error")
    assert [str(error) for error in errors] == ["secret"]


@pytest.mark.options(MAX_EVENT_BYTES=2000)
async def test_an_end_that_is_too_large_to_be_said_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # It repeats the whole text, of which each part was small enough.
    task = await begin(["x" * 500] * 4, dialect="openai-responses")
    await over(task)
    records = await arecords(task.run)
    assert terminals(records) == [records[-1]]
    assert await astate(task.run) == "error"
    assert "cannot end in its dialect" in caplog.text
    # In the dialect all the same, and counted on.
    last = json.loads(records[-1].data)
    assert (last["type"], last["sequence_number"]) == ("error", len(records) - 1)


# -- values that cannot be, in a dialect


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("caught", [False, True])
async def test_a_value_that_the_log_refuses_ends_the_answer_in_its_dialect(
    configure: Overrides, name: str, caught: bool
) -> None:
    """The encoder has said what nobody will hear: nothing that it says next would fit."""
    configure(MAX_EVENT_BYTES=1000)
    seen: list[BaseException] = []

    async def answer() -> AsyncIterator[Any]:
        yield Reasoning("hm")
        try:
            yield "x" * 2000
        except EventTooLarge as error:
            seen.append(error)
            if not caught:
                raise
        yield "short"

    task = await begin(answer(), dialect=name)
    await over(task)
    assert len(seen) == 1
    records = await arecords(task.run)
    before = [(event.event or "", event.data) for event in begun_with_reasoning(name)]
    expected = get_dialect(name).encoder(sent=len(before)).failed("The stream failed.")
    assert shapes(records[-len(expected) :]) == shapes(expected)
    assert len(records) == len(before) + len(expected)
    assert terminals(records) == [records[-1]]
    assert await astate(task.run) == "error"


def begun_with_reasoning(name: str) -> list[Event]:
    return get_dialect(name).encoder().encode(Reasoning("hm"))


def shapes(events: Sequence[Any]) -> list[Any]:
    """Without what is random: the fields of each event's JSON."""
    return [
        sorted(json.loads(each.data)) if each.data.startswith("{") else each.data for each in events
    ]


@pytest.mark.options(MAX_EVENT_BYTES=1000)
async def test_without_a_dialect_such_a_value_is_left_out_where_it_is_caught() -> None:
    async def answer() -> AsyncIterator[Any]:
        yield "one"
        with suppress(EventTooLarge):
            yield "x" * 2000
        yield "two"

    task = await begin(answer())
    await over(task)
    assert await atexts(task.run) == ["one", "two", "[DONE]"]


# -- values that cannot be


async def test_a_value_that_cannot_be_is_an_error_at_its_yield() -> None:
    seen: list[BaseException] = []

    async def answer() -> AsyncIterator[Any]:
        yield "one"
        try:
            yield {1, 2}
        except InexpressibleValue as error:
            seen.append(error)
        yield "two"

    task = await begin(answer(), dialect="anthropic")
    await over(task)
    assert ["anthropic" in str(error) for error in seen] == [True]
    assert await astate(task.run) == "done"
    texts = [json.loads(text) for text in await atexts(task.run)]
    deltas = [each["delta"]["text"] for each in texts if each["type"] == "content_block_delta"]
    assert deltas == ["one", "two"]


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("value", [{1, 2}, Event("x", id="1"), "x" * 300_000])
async def test_not_caught_it_ends_the_run(value: Any, sync: bool) -> None:
    def answer() -> Generator[Any]:
        yield "one"
        yield value
        yield "never"

    errors: list[BaseException] = []
    task = await begin(in_form(sync, answer()), on_error=errors.append)
    await over(task)
    assert (await atexts(task.run))[0] == "one"
    assert len(await arecords(task.run)) == 2
    assert await astate(task.run) == "error"
    assert len(errors) == 1


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("name", ["plain", *NAMES])
async def test_a_character_that_cannot_be_stored_costs_no_more_than_itself(
    name: str, sync: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def answer() -> Generator[Any]:
        yield "a\0b"
        yield "half \ud83d"
        yield "end"

    task = await begin(in_form(sync, answer()), dialect=name)
    await over(task)
    records = await arecords(task.run)
    assert await astate(task.run) == "done"
    decoder = get_dialect(name).decoder()
    values = [
        value
        for each in records
        for value in decoder.decode(Event(each.data, each.type or None))
        if isinstance(value, str)
    ]
    assert "".join(values) == "a\ufffdbhalf \ufffdend"
    lines = [each.message for each in caplog.records if "U+FFFD" in each.message]
    assert len(lines) == 1
    assert str(task.run.pk) in lines[0]


# -- ends from elsewhere


async def test_a_stop_cancels_the_generator_where_it_waits() -> None:
    answer = Answer()
    task = await begin(answer.items())
    assert await sync_to_async(ends.stop)(task.run)
    await over(task)
    assert answer.notes == ["cancelled", "ended"]
    (*_, last) = await arecords(task.run)
    assert json.loads(last.data) == ABORTED


async def test_a_stop_ends_a_generator_in_a_thread_at_its_next_item() -> None:
    left = threading.Event()
    go_on = threading.Event()

    def answer() -> Iterator[str]:
        try:
            yield "one"
            assert go_on.wait(60)
            yield "two"
            yield "never"
        finally:
            left.set()

    task = await begin(answer())
    assert await sync_to_async(ends.stop)(task.run)
    await eventually(lambda: task.closed)
    go_on.set()
    await over(task)
    assert left.is_set()
    assert [text for text in await atexts(task.run) if text == "two"] == []
    assert len(terminals(await arecords(task.run))) == 1


async def test_an_end_that_nobody_told_of_is_met_by_the_next_append() -> None:
    answer = Answer()
    task = await begin_and_log_one(answer.items())
    # As another process does it, which died before it could tell.
    end = last_entries(task.run.channel, State.ERROR, PLAIN.failed("gone", "interrupted"))
    await database.write(append_to, get_log(), end)
    answer.go_on()
    await over(task)
    assert answer.notes[-1] == "ended"
    assert [each.seq for each in await arecords(task.run)] == [1, 2]
    assert await astate(task.run) == "error"


async def test_a_process_that_stalled_writes_nothing_behind_the_end_of_others() -> None:
    async def answer() -> AsyncIterator[str]:
        try:
            yield "one"
            await stalled.wait()
            yield "two"
        finally:
            left.set()

    stalled, left = asyncio.Event(), asyncio.Event()
    task = await begin_and_log_one(answer())
    assert await aend(task.run, State.ERROR, Event({"code": "interrupted"}))
    stalled.set()
    await over(task)
    assert left.is_set()
    assert [each.seq for each in await arecords(task.run)] == [1, 2]
    assert await noted(task.run)


async def test_one_that_was_stopped_before_it_began_does_not_go_on() -> None:
    run = await anew_run()
    await sync_to_async(ends.stop)(run)
    answer = Answer()
    task = RunTask(run, PLAIN, on_error=lambda error: None)
    await task.start(answer.items(), lambda task: None)
    assert task.closed
    await over(task)
    assert len(await arecords(run)) == 1
    # And nobody waits for its first item.
    assert task.first.failed(RuntimeError())


async def test_nobody_waits_for_the_first_item_of_one_that_is_stopped() -> None:
    async def silent() -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield "never"

    run = await anew_run()
    task = RunTask(run, PLAIN, on_error=lambda error: None)
    await task.start(silent(), lambda task: None)
    first = asyncio.create_task(task.first.wait(TIMEOUT))
    await sync_to_async(ends.stop)(run)
    await over(task)
    # It is said before the end is, or the request would wait for as long as it may.
    await asyncio.wait_for(first, 1)


async def test_whatever_ends_its_channel_ends_the_run() -> None:
    answer = Answer()
    task = await begin(answer.items())
    assert await aend(task.run, State.DONE, DONE)
    await over(task)
    assert answer.notes == ["cancelled", "ended"]
    assert await astate(task.run) == "done"


async def test_a_generator_that_will_not_stop_says_nothing_any_more() -> None:
    async def stubborn() -> AsyncIterator[str]:
        yield "one"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "two"
            yield "three"

    task = await begin_and_log_one(stubborn())
    assert await sync_to_async(ends.stop)(task.run)
    await over(task)
    assert [each.data for each in await arecords(task.run)][:1] == ["one"]
    assert len(await arecords(task.run)) == 2
    assert await astate(task.run) == "aborted"


# -- the end of the process, or of all interest


@pytest.mark.parametrize(("method", "said"), [("interrupt", INTERRUPTED), ("abort", ABORTED)])
async def test_it_can_be_ended_from_within(method: str, said: dict[str, str]) -> None:
    answer = Answer()
    task = await begin(answer.items())
    getattr(task, method)()
    await over(task)
    assert answer.notes == ["cancelled", "ended"]
    (first, last) = await atexts(task.run)
    assert (first, json.loads(last)) == ("token 0", said)
    assert await astate(task.run) == ("error" if method == "interrupt" else "aborted")
    assert await noted(task.run)


@pytest.mark.parametrize("method", ["interrupt", "abort"])
async def test_what_the_generator_does_at_its_end_is_not_broken_off(method: str) -> None:
    cleaned: list[str] = []
    go_on = asyncio.Event()
    cleaning = asyncio.Event()

    async def careful() -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await go_on.wait()
            cleaned.append("all of it")

    task = await begin(careful())
    getattr(task, method)()
    await cleaning.wait()
    # Said once more, and then heard back as the channel's end.
    getattr(task, method)()
    await eventually(lambda: task.closed)
    task.interrupt()
    await sync_to_async(ends.stop)(task.run)
    go_on.set()
    await over(task)
    assert cleaned == ["all of it"]
    assert len(terminals(await arecords(task.run))) == 1


@pytest.mark.parametrize("method", ["interrupt", "abort"])
async def test_nothing_undoes_an_end_that_is_in_the_log(method: str) -> None:
    async def talkative() -> AsyncIterator[str]:
        yield "one"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # In the same breath, before anything could be written.
            yield "two"

    task = await begin(talkative())
    getattr(task, method)()
    await over(task)
    records = await arecords(task.run)
    assert terminals(records) == [records[-1]]
    assert [each.data for each in records[:-1]] == ["one"]


async def test_nor_does_what_a_thread_says_meanwhile() -> None:
    go_on = threading.Event()

    def talkative() -> Iterator[str]:
        yield "one"
        assert go_on.wait(60)
        for _ in range(1000):
            yield "more"

    task = await begin_and_log_one(talkative())
    go_on.set()
    task.interrupt()
    # Puts that race with the last word.
    task.put("late")
    await over(task)
    records = await arecords(task.run)
    assert terminals(records) == [records[-1]]
    assert json.loads(records[-1].data) == INTERRUPTED


def test_the_end_of_the_loop_is_told_to_the_log(transactional_db: None) -> None:
    """As where a server ends without a signal that could be heard."""
    runs: list[Run] = []
    notes: list[str] = []

    async def serve() -> None:
        async def answer() -> AsyncIterator[str]:
            try:
                yield "one"
                await asyncio.Event().wait()
            finally:
                notes.append("ended")

        task = await begin_and_log_one(answer())
        runs.append(task.run)

    asyncio.run(serve())
    assert notes == ["ended"]
    (first, last) = everything(get_log(), runs[0].channel)
    assert (first.data, json.loads(last.data)) == ("one", INTERRUPTED)


# -- a log that is away


class FlakyLog(ModelLog):
    """Is away as often as its test says; ``committed`` says whether it did its work before."""

    def __init__(self) -> None:
        self.away = 0
        self.committed = False
        self.refused = 0
        self.error: Exception | None = None
        self.ended_meanwhile: list[Entry] = []

    def append_free(
        self, groups: Sequence[Sequence[Entry]]
    ) -> tuple[list[Appended], list[Outcome]]:
        if self.error is not None:
            raise self.error
        if self.away:
            self.away -= 1
            self.refused += 1
            if self.committed:
                super().append_free(groups)
            if self.ended_meanwhile:
                super().append_free([self.ended_meanwhile])
                self.ended_meanwhile = []
            gone = LogUnavailable("the connection was cut")
            return [], [gone] * len(groups)
        return super().append_free(groups)


@pytest.fixture
def flaky(configure: Overrides) -> FlakyLog:
    configure(LOG=f"{__name__}.FlakyLog")
    log = get_log()
    assert isinstance(log, FlakyLog)
    log.__init__()  # type: ignore[misc]
    return log


@pytest.mark.parametrize("committed", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize("times", [1, 2])
async def test_while_the_log_is_away_no_token_is_lost_and_none_comes_twice(
    flaky: FlakyLog, committed: bool, times: int
) -> None:
    answer = Answer()
    task = await begin_and_log_one(answer.items(8))
    flaky.away, flaky.committed = times, committed
    answer.go_on(3)
    await eventually(lambda: flaky.refused)
    answer.go_on(5)
    await over(task)
    assert flaky.refused == times
    assert await atexts(task.run) == [*(f"token {n}" for n in range(8)), "[DONE]"]
    assert await astate(task.run) == "done"


@pytest.mark.parametrize("committed", [False, True], ids=["refused", "answer lost"])
async def test_nor_is_the_end(flaky: FlakyLog, committed: bool) -> None:
    answer = Answer()
    task = await begin_and_log_one(answer.items(1))
    flaky.away, flaky.committed = 1, committed
    answer.go_on()
    await over(task)
    assert flaky.refused == 1
    assert await atexts(task.run) == ["token 0", "[DONE]"]
    assert await noted(task.run)


async def test_an_end_by_others_while_the_log_was_away_is_the_end(flaky: FlakyLog) -> None:
    answer = Answer()
    task = await begin_and_log_one(answer.items())
    flaky.ended_meanwhile = last_entries(task.run.channel, State.ABORTED, PLAIN.aborted())
    flaky.away = 1
    answer.go_on(1)
    await eventually(lambda: flaky.refused)
    answer.go_on(10)
    await over(task)
    assert answer.notes[-1] == "ended"
    assert [each.seq for each in await arecords(task.run)] == [1, 2]
    assert await astate(task.run) == "aborted"


async def test_a_log_that_breaks_ends_the_generator_and_says_so(
    flaky: FlakyLog, caplog: pytest.LogCaptureFixture
) -> None:
    answer = Answer()
    task = await begin_and_log_one(answer.items())
    flaky.error = ValueError("a row that makes no sense")
    answer.go_on()
    await over(task)
    assert answer.notes == ["cancelled", "ended"]
    assert "could not be written: abandoned" in caplog.text


async def test_one_that_is_given_up_is_not_kept_alive(caplog: pytest.LogCaptureFixture) -> None:
    left, go_on = threading.Event(), threading.Event()

    def stubborn() -> Iterator[str]:
        yield "one"
        left.set()
        assert go_on.wait(TIMEOUT)

    task = await begin(stubborn())
    task._channel.append = refuse  # type: ignore[method-assign]
    task.put("two")
    await asyncio.to_thread(left.wait, TIMEOUT)
    await eventually(lambda: task.run.pk not in get_keeper().tasks)
    assert "abandoned" in caplog.text
    go_on.set()
    await over(task)


async def refuse(entries: Any) -> None:
    raise RuntimeError("a trigger of the database's")


async def test_an_append_that_was_cut_with_its_loop_leaves_no_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for committed in (True, False):
        task = await begin(tokens_and_wait())
        await eventually(lambda task=task: task._channel.position.seq == 3)  # type: ignore[misc]
        blocked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def cut(
            entries: Any,
            committed: bool = committed,
            blocked: asyncio.Future[None] = blocked,
        ) -> None:
            if committed:
                await append(entries)
            blocked.set_result(None)
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr("django_sse.runs.channel.append", cut)
            task.put("token 3")
            await blocked
        assert task._writer is not None
        task._writer.cancel()
        await over(task)
        *texts, end = await atexts(task.run)
        assert texts == [f"token {number}" for number in range(4)]
        assert json.loads(end) == INTERRUPTED
        task._cancel()


async def tokens_and_wait() -> AsyncIterator[str]:
    for number in range(3):
        yield f"token {number}"
    await asyncio.Event().wait()
