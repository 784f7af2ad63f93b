from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from django_sse import Event
from django_sse.exceptions import Overloaded, StreamError
from django_sse.publishing import DONE
from django_sse.streaming import GeneratorStream, encode_error, encode_item, encode_terminal

CLOSE = b"id: !end\nevent: close\ndata: [DONE]\n\n"
FAILED = b'id: !end\nevent: error\ndata: {"error":"The stream failed."}\n\n'
HEARTBEAT = b":\n"


class Errors(list[BaseException]):
    """What was reported; `reported` is set with the first."""

    def __init__(self) -> None:
        super().__init__()
        self.reported = threading.Event()

    def append(self, error: BaseException) -> None:
        super().append(error)
        self.reported.set()


@pytest.fixture
def errors() -> Errors:
    return Errors()


def make(source: Any, errors: Errors | None = None, terminal: Event | None = DONE) -> Any:
    report = Errors() if errors is None else errors
    return GeneratorStream(source, terminal=terminal, on_error=report.append)


async def read(stream: GeneratorStream) -> bytes:
    """All that is sent, without the heartbeats."""
    return b"".join([chunk async for chunk in stream if chunk != HEARTBEAT])


async def chunk_of(stream: GeneratorStream) -> bytes:
    """What is sent next, but for heartbeats."""
    async for chunk in stream:
        if chunk != HEARTBEAT:
            return chunk
    raise EOFError


def frame(text: object) -> bytes:
    return b"data: %s\n\n" % str(text).encode()


class Walk:
    """A generator's way, watched from the test: async or sync."""

    def __init__(self, fail: BaseException | None = None) -> None:
        self.made = 0
        self.fail = fail
        self.ended = threading.Event()

    async def endless(self) -> AsyncIterator[str]:
        try:
            while True:
                self.made += 1
                yield str(self.made)
        finally:
            await self._leave()

    async def waiting(self) -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            await self._leave()

    async def opening(self) -> AsyncIterator[str]:
        try:
            await asyncio.Event().wait()
            yield "never"
        finally:
            await self._leave()

    async def _leave(self) -> None:
        await asyncio.sleep(0)
        self.leave()

    def endless_sync(self) -> Iterator[str]:
        try:
            while True:
                self.made += 1
                yield str(self.made)
        finally:
            self.leave()

    def leave(self) -> None:
        self.ended.set()
        if self.fail is not None:
            raise self.fail

    async def wait_for_end(self) -> None:
        assert await asyncio.to_thread(self.ended.wait, 30)


# -- frames


def test_the_terminal_frame_has_the_reserved_id_unless_it_has_one() -> None:
    assert encode_terminal(DONE) == CLOSE
    assert encode_terminal(Event("x", id="7", retry=5)) == b"id: 7\nretry: 5\ndata: x\n\n"
    assert encode_terminal(Event("x", retry=5)) == b"id: !end\nretry: 5\ndata: x\n\n"
    assert encode_terminal(None) == b""


def test_an_error_frame_says_no_more_than_it_should(settings: Any) -> None:
    assert encode_error(RuntimeError("secret")) == FAILED
    assert b'{"error":"out of paper"}' in encode_error(StreamError("out of paper"))
    settings.DEBUG = True
    assert b'{"error":"RuntimeError: secret"}' in encode_error(RuntimeError("secret"))


def test_an_error_frame_can_be_made_of_broken_text() -> None:
    assert encode_error(StreamError("half \ud83d")) == (
        b'id: !end\nevent: error\ndata: {"error":"half ?"}\n\n'
    )


def test_a_str_is_data_an_event_is_itself_and_all_else_is_json() -> None:
    assert encode_item("a\nb", json.JSONEncoder) == b"data: a\ndata: b\n\n"
    assert encode_item(Event("a", "b", id="c"), json.JSONEncoder) == (
        b"id: c\nevent: b\ndata: a\n\n"
    )
    assert encode_item({"a": [1, None]}, json.JSONEncoder) == b'data: {"a":[1,null]}\n\n'
    assert encode_item(None, json.JSONEncoder) == b"data: null\n\n"


async def test_data_for_json_is_encoded_as_the_settings_say() -> None:
    from datetime import date

    async def days() -> AsyncIterator[Any]:
        yield {"day": date(2026, 11, 21)}

    assert await read(make(days(), terminal=None)) == b'data: {"day":"2026-11-21"}\n\n'


# -- order, pace and bounds


@pytest.mark.parametrize("count", [0, 1, 100, 1000])
async def test_everything_comes_in_order_and_once(count: int) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(count):
            yield number

    expected = b"".join(map(frame, range(count))) + CLOSE
    assert await read(make(numbers())) == expected
    assert await read(make(iter(range(count)))) == expected


async def test_an_item_is_sent_before_the_next_one_is_made() -> None:
    walk = Walk()
    stream = make(walk.endless())
    assert (await anext(stream)).startswith(frame(1))
    stream.close()
    await walk.wait_for_end()


@pytest.mark.parametrize("name", ["endless", "endless_sync"])
async def test_a_generator_is_a_few_items_ahead_of_a_client_that_does_not_read(name: str) -> None:
    walk = Walk()
    stream = make(getattr(walk, name)())
    first = await anext(stream)
    read = first.count(b"data:")
    # It stops somewhere; how far it is tells what is kept in memory.
    stopped = -1
    while stopped != walk.made:
        stopped = walk.made
        await asyncio.sleep(0.05)
    assert walk.made - read <= 17
    stream.close()
    await walk.wait_for_end()


async def test_large_items_are_not_piled_up(settings: Any) -> None:
    settings.DJANGO_SSE = {"WRITE_BYTES": 1000}
    made = []

    async def large() -> AsyncIterator[str]:
        for number in range(10):
            made.append(number)
            yield "x" * 1000

    stream = make(large())
    await anext(stream)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(made) <= 3
    stream.close()


async def test_a_generator_that_never_awaits_leaves_others_their_turn() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    walk = Walk()
    stream = make(walk.endless())
    task = asyncio.create_task(other())
    for _ in range(100):
        await anext(stream)
    assert turns >= 100
    task.cancel()
    stream.close()
    await walk.wait_for_end()


# -- heartbeats


async def test_heartbeats_go_out_while_an_item_is_made_and_do_not_cancel_it(settings: Any) -> None:
    settings.DJANGO_SSE = {"HEARTBEAT": 0.02}
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[str]:
        yield "before"
        await gate.wait()
        yield "after"

    stream = make(slow())
    assert await chunk_of(stream) == frame("before")
    assert [await anext(stream) for _ in range(3)] == [HEARTBEAT] * 3
    gate.set()
    assert await read(stream) == frame("after") + CLOSE


async def test_the_same_of_a_sync_generator(settings: Any) -> None:
    settings.DJANGO_SSE = {"HEARTBEAT": 0.02}
    gate = threading.Event()

    def slow() -> Iterator[str]:
        yield "before"
        gate.wait(30)
        yield "after"

    stream = make(slow())
    assert await chunk_of(stream) == frame("before")
    assert [await anext(stream) for _ in range(3)] == [HEARTBEAT] * 3
    gate.set()
    assert await read(stream) == frame("after") + CLOSE


# -- a client that leaves


@pytest.mark.parametrize("name", ["waiting", "endless", "endless_sync"])
async def test_closing_ends_the_generator(name: str) -> None:
    walk = Walk()
    stream = make(getattr(walk, name)())
    await chunk_of(stream)
    assert not walk.ended.is_set()
    stream.close()
    await walk.wait_for_end()
    assert [chunk async for chunk in stream] == []


async def test_cancelling_the_reader_ends_the_generator() -> None:
    walk = Walk()
    stream = make(walk.waiting())
    assert await chunk_of(stream) == frame("first")
    reader = asyncio.create_task(read(stream))
    # It has begun to wait.
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await walk.wait_for_end()


async def test_a_generator_is_closed_though_its_iterator_is_another_object() -> None:
    walk = Walk()

    class Items:
        def __aiter__(self) -> AsyncIterator[str]:
            return walk.waiting()

    stream = make(Items())
    assert await chunk_of(stream) == frame("first")
    stream.close()
    await walk.wait_for_end()


def test_a_loop_that_is_gone_ends_a_sync_generator_at_its_next_yield() -> None:
    gate, ended = threading.Event(), threading.Event()

    def generator() -> Iterator[str]:
        try:
            yield "one"
            gate.wait(30)
            yield "two"
            raise AssertionError("not to be reached")
        finally:
            ended.set()

    stream = make(generator())
    assert asyncio.run(chunk_of(stream)) == frame("one")
    gate.set()
    assert ended.wait(30)


# -- opening


async def test_open_returns_with_the_first_item() -> None:
    walk = Walk()
    stream = make(walk.waiting())
    await stream.open()
    assert await chunk_of(stream) == frame("first")
    stream.close()
    await walk.wait_for_end()


@pytest.mark.parametrize("error", [ValueError("early"), SystemExit(3)])
async def test_open_raises_what_comes_before_the_first_item_and_reports_nothing(
    error: BaseException, errors: Errors
) -> None:
    def failing() -> Iterator[str]:
        raise error
        yield "never"

    with pytest.raises(type(error)) as raised:
        await make(failing(), errors).open()
    assert raised.value is error
    assert errors == []


async def test_open_raises_overloaded(settings: Any) -> None:
    settings.DJANGO_SSE = {"SYNC_GENERATORS": 0}
    closed = []

    class Items:
        def __iter__(self) -> Iterator[str]:
            raise AssertionError("not to be iterated")

        def close(self) -> None:
            closed.append(True)

    with pytest.raises(Overloaded, match="SYNC_GENERATORS allows 0"):
        await make(Items()).open()
    assert closed == [True]


async def test_open_gives_up_waiting_but_not_the_item(settings: Any, errors: Errors) -> None:
    settings.DJANGO_SSE = {"OPEN_TIMEOUT": 0.01}
    gate = asyncio.Event()

    async def late() -> AsyncIterator[str]:
        await gate.wait()
        yield "late"

    stream = make(late(), errors)
    await stream.open()
    gate.set()
    assert await read(stream) == frame("late") + CLOSE


async def test_an_error_that_open_did_not_wait_for_is_reported_and_sent(
    settings: Any, errors: Errors
) -> None:
    settings.DJANGO_SSE = {"OPEN_TIMEOUT": 0.01}
    gate = asyncio.Event()
    error = ValueError("late")

    async def late() -> AsyncIterator[str]:
        await gate.wait()
        raise error
        yield "never"

    stream = make(late(), errors)
    await stream.open()
    gate.set()
    assert await read(stream) == FAILED
    assert errors == [error]


async def test_cancelling_open_ends_the_generator() -> None:
    walk = Walk()
    stream = make(walk.opening())
    opening = asyncio.create_task(stream.open())
    # Two turns: one for the task, one for the generator's.
    await asyncio.sleep(0.01)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await walk.wait_for_end()


def test_opened_in_a_thread_it_streams_on_a_loop_later() -> None:
    stream = make(iter(["one", "two"]))
    stream.open_in_thread()
    assert asyncio.run(read(stream)) == frame("one") + frame("two") + CLOSE


def test_opened_in_a_thread_it_raises_what_comes_before_the_first_item(errors: Errors) -> None:
    def failing() -> Iterator[str]:
        raise ValueError("early")
        yield "never"

    with pytest.raises(ValueError, match="early"):
        make(failing(), errors).open_in_thread()
    assert errors == []


def test_opened_in_a_thread_and_never_read_it_can_be_closed() -> None:
    walk = Walk()
    stream = make(walk.endless_sync())
    stream.open_in_thread()
    stream.close()
    assert walk.ended.wait(30)


# -- errors


@pytest.mark.parametrize("sync", [False, True])
async def test_an_error_is_reported_before_it_is_sent(sync: bool, errors: Errors) -> None:
    error = ValueError("secret")

    async def failing() -> AsyncIterator[str]:
        yield "first"
        raise error

    def failing_sync() -> Iterator[str]:
        yield "first"
        raise error

    assert await read(make(failing_sync() if sync else failing(), errors)) == (
        frame("first") + FAILED
    )
    assert errors == [error]


@pytest.mark.parametrize("name", ["waiting", "endless", "endless_sync"])
async def test_an_error_of_a_finally_is_reported_though_the_client_is_gone(
    name: str, errors: Errors
) -> None:
    error = ValueError("could not be saved")
    walk = Walk(fail=error)
    stream = make(getattr(walk, name)(), errors)
    await chunk_of(stream)
    stream.close()
    assert await asyncio.to_thread(errors.reported.wait, 30)
    assert errors == [error]


async def test_a_client_that_leaves_is_no_error(errors: Errors) -> None:
    walk = Walk()
    stream = make(walk.waiting(), errors)
    await chunk_of(stream)
    stream.close()
    await walk.wait_for_end()
    await asyncio.sleep(0)
    assert errors == []


async def test_an_answer_that_was_cancelled_from_within_does_not_look_complete(
    errors: Errors,
) -> None:
    async def generator() -> AsyncIterator[str]:
        yield "half an"
        other = asyncio.create_task(asyncio.Event().wait())
        other.cancel()
        await other
        yield " answer"

    assert await read(make(generator(), errors)) == frame("half an") + FAILED
    (error,) = errors
    assert isinstance(error.__cause__, asyncio.CancelledError)


async def test_a_sync_generator_that_exits_fails_its_stream_only(errors: Errors) -> None:
    def generator() -> Iterator[str]:
        yield "first"
        raise SystemExit(1)

    assert await read(make(generator(), errors)) == frame("first") + FAILED
    assert [type(error) for error in errors] == [SystemExit]


async def test_an_item_that_cannot_be_encoded_ends_the_generator(errors: Errors) -> None:
    ended = []

    async def generator() -> AsyncIterator[Any]:
        try:
            yield "first"
            yield object()
        finally:
            ended.append(True)

    assert await read(make(generator(), errors)) == frame("first") + FAILED
    assert ended == [True]


# -- a response that a middleware put another one in the place of


async def test_a_stream_that_was_opened_and_is_never_read_ends_its_generator(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DJANGO_SSE = {"HEARTBEAT": 0.02}
    monkeypatch.setattr("django_sse.streaming._ABANDONED_AFTER", 0.05)
    walk = Walk()
    await make(walk.waiting()).open()
    await walk.wait_for_end()


def test_the_same_of_one_that_was_opened_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_sse.streaming._ABANDONED_AFTER", 0.05)
    monkeypatch.setattr("django_sse.producers._LOOK", 0.02)
    walk = Walk()
    make(walk.endless_sync()).open_in_thread()
    assert walk.ended.wait(30)


async def test_a_stream_that_is_read_is_never_abandoned(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DJANGO_SSE = {"HEARTBEAT": 0.02}
    monkeypatch.setattr("django_sse.streaming._ABANDONED_AFTER", 0.05)
    walk = Walk()
    stream = make(walk.waiting())
    await stream.open()
    assert await chunk_of(stream) == frame("first")
    assert [await anext(stream) for _ in range(5)] == [HEARTBEAT] * 5
    assert not walk.ended.is_set()
    stream.close()
    await walk.wait_for_end()
