from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from datetime import date
from typing import Any

import pytest

from django_sse import Event
from django_sse.dialects import Finish, get_dialect
from django_sse.exceptions import (
    InexpressibleValue,
    Overloaded,
    StreamError,
    UpstreamError,
)
from django_sse.streams.ends import INTERRUPTED, UNAVAILABLE
from django_sse.streams.generator import GeneratorStream
from django_sse.wire import Decoder
from tests.generators import (
    CLOSE,
    FAILED,
    HEARTBEAT,
    Errors,
    Walk,
    chunk_of,
    frame,
    in_form,
    make,
    read,
)
from tests.options import Overrides
from tests.unit.dialects.support import NAMES


@pytest.fixture
def errors() -> Errors:
    return Errors()


# -- frames


async def test_data_for_json_is_encoded_as_the_settings_say() -> None:
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


async def test_items_that_come_in_quick_succession_go_out_in_one_write(
    constants: Overrides,
) -> None:
    constants(COALESCE=60.0)
    more = asyncio.Event()

    async def answer() -> AsyncIterator[int]:
        yield 1
        await more.wait()
        for number in range(2, 6):
            await asyncio.sleep(0)
            yield number

    stream = make(answer(), terminal=None)
    # The first is not held back, and neither is what stands before the end.
    assert await anext(stream) == frame(1)
    more.set()
    assert await read(stream) == b"".join(map(frame, range(2, 6)))


async def test_items_wait_for_others_three_times_coalesce_and_no_longer(
    constants: Overrides,
) -> None:
    constants(COALESCE=0.05)
    more = asyncio.Event()

    async def answer() -> AsyncIterator[int]:
        yield 1
        await more.wait()
        yield 2
        await asyncio.Event().wait()

    stream = make(answer())
    loop = asyncio.get_running_loop()
    assert await anext(stream) == frame(1)
    began = loop.time()
    more.set()
    assert await anext(stream) == frame(2)
    assert loop.time() - began >= 0.14
    stream.close()


async def test_a_full_buffer_is_sent_without_waiting(constants: Overrides) -> None:
    constants(COALESCE=60.0)

    async def fast() -> AsyncIterator[int]:
        for number in range(1000):
            yield number

    assert await read(make(fast(), terminal=None)) == b"".join(map(frame, range(1000)))


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


async def test_large_items_are_not_piled_up(constants: Overrides) -> None:
    constants(WRITE_BYTES=1000)
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


@pytest.mark.parametrize("sync", [False, True])
async def test_heartbeats_go_out_while_an_item_is_made_and_do_not_cancel_it(
    sync: bool, settings: Any
) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"HEARTBEAT": 0.02}}
    gate: Any = threading.Event() if sync else asyncio.Event()

    async def slow() -> AsyncIterator[str]:
        yield "before"
        await gate.wait()
        yield "after"

    def slow_sync() -> Iterator[str]:
        yield "before"
        gate.wait(30)
        yield "after"

    stream = make(slow_sync() if sync else slow())
    assert await chunk_of(stream) == frame("before")
    assert [await anext(stream) for _ in range(3)] == [HEARTBEAT] * 3
    gate.set()
    assert await read(stream) == frame("after") + CLOSE


# -- opening


async def test_open_returns_with_the_first_item() -> None:
    walk = Walk()
    stream = make(walk.waiting())
    await stream.open()
    assert await chunk_of(stream) == frame("first")
    stream.close()
    await walk.wait_for_end()


@pytest.mark.parametrize("error", [ValueError("early"), SystemExit(3)])
@pytest.mark.parametrize("in_thread", [False, True])
async def test_open_raises_what_comes_before_the_first_item_and_reports_nothing(
    in_thread: bool, error: BaseException, errors: Errors
) -> None:
    def failing() -> Iterator[str]:
        raise error
        yield "never"

    stream = make(failing(), errors)
    with pytest.raises(type(error)) as raised:
        await (asyncio.to_thread(stream.open_in_thread) if in_thread else stream.open())
    assert raised.value is error
    assert errors == []


async def test_open_raises_overloaded(settings: Any) -> None:
    settings.DJANGO_SSE = {"LIMITS": {"SYNC_GENERATORS": 0}}
    closed = []

    class Items:
        def __iter__(self) -> Iterator[str]:
            raise AssertionError("not to be iterated")

        def close(self) -> None:
            closed.append(True)

    with pytest.raises(Overloaded, match="SYNC_GENERATORS allows 0"):
        await make(Items()).open()
    assert closed == [True]


@pytest.mark.parametrize("error", [None, ValueError("late")])
async def test_open_gives_up_waiting_but_not_the_item(
    error: ValueError | None, settings: Any, errors: Errors
) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"OPEN_TIMEOUT": 0.01}}
    gate = asyncio.Event()

    async def late() -> AsyncIterator[str]:
        await gate.wait()
        if error is not None:
            raise error
        yield "late"

    stream = make(late(), errors)
    await stream.open()
    gate.set()
    assert await read(stream) == (frame("late") + CLOSE if error is None else FAILED)
    assert errors == ([] if error is None else [error])


async def test_cancelling_open_ends_the_generator() -> None:
    walk = Walk()
    stream = make(walk.opening())
    opening = asyncio.create_task(stream.open())
    await walk.began.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await walk.wait_for_end()


def test_opened_in_a_thread_it_streams_on_a_loop_later() -> None:
    stream = make(iter(["one", "two"]))
    stream.open_in_thread()
    assert asyncio.run(read(stream)) == frame("one") + frame("two") + CLOSE


def test_opened_in_a_thread_and_never_read_it_can_be_closed() -> None:
    walk = Walk()
    stream = make(walk.endless_sync())
    stream.open_in_thread()
    stream.close()
    assert walk.ended.wait(30)


# -- in a dialect


def answer_in(name: str, source: Any, errors: Errors | None = None) -> GeneratorStream:
    report = Errors() if errors is None else errors
    return GeneratorStream(source, get_dialect(name), on_error=report.append)


def heard(name: str, body: bytes) -> list[Any]:
    """What a client of the dialect makes of it; it has to be whole."""
    decoder = get_dialect(name).decoder()
    values = [
        value
        for event in Decoder().feed(body)
        for value in decoder.decode(Event(event.data, event.type))
    ]
    decoder.end()
    return values


def broken(name: str, body: bytes) -> bool:
    """Whether a client of the dialect hears that it broke off."""
    try:
        heard(name, body)
    except UpstreamError:
        return True
    return False


@pytest.mark.parametrize("name", NAMES)
async def test_in_a_dialect_values_and_the_end_are_the_dialects(name: str) -> None:
    async def answer() -> AsyncIterator[Any]:
        yield "Hel"
        yield "lo"
        yield Finish("stop")

    body = await read(answer_in(name, answer()))
    values = heard(name, body)
    assert "".join(value for value in values if isinstance(value, str)) == "Hello"
    last = Decoder().feed(body)[-1]
    assert last.last_event_id == "!end"
    assert body.count(b"id: ") == 1


@pytest.mark.parametrize("name", NAMES)
async def test_an_error_is_told_in_the_dialect_and_reported(name: str, errors: Errors) -> None:
    error = StreamError("out of paper")

    async def failing() -> AsyncIterator[Any]:
        yield "Hel"
        raise error

    body = await read(answer_in(name, failing(), errors))
    assert broken(name, body)
    assert b"out of paper" in body
    assert errors == [error]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sync", [False, True])
async def test_a_value_that_cannot_be_is_an_error_at_its_yield(name: str, sync: bool) -> None:
    def answer() -> Generator[Any]:
        with pytest.raises(InexpressibleValue, match=name):
            yield {1, 2}
        yield "instead"

    values = heard(name, await read(answer_in(name, in_form(sync, answer()))))
    assert [value for value in values if isinstance(value, str)] == ["instead"]


@pytest.mark.parametrize("name", NAMES)
async def test_told_to_stop_it_does_not_look_whole(name: str) -> None:
    walk = Walk()
    stream = answer_in(name, walk.waiting())
    body = await chunk_of(stream)
    stream.drain()
    body += await read(stream)
    assert broken(name, body)
    assert b"stream-retry" not in body
    assert Decoder().feed(body)[-1].last_event_id == "!end"
    await walk.wait_for_end()


@pytest.mark.parametrize("name", NAMES)
async def test_sent_away_it_says_that_the_server_is_busy_and_not_that_it_stops(
    name: str, settings: Any
) -> None:
    settings.DJANGO_SSE = {"LIMITS": {"SYNC_GENERATORS": 0}}
    body = await read(answer_in(name, iter(["never"])))
    assert broken(name, body)
    assert UNAVAILABLE.message.encode() in body
    assert INTERRUPTED.message.encode() not in body
    assert b"SYNC_GENERATORS" not in body
    assert Decoder().feed(body)[-1].last_event_id == "!end"


async def test_sent_away_a_client_of_the_plain_dialect_reconnects(settings: Any) -> None:
    settings.DJANGO_SSE = {"LIMITS": {"SYNC_GENERATORS": 0}}
    (event,) = Decoder().feed(await read(make(iter(["never"]))))
    assert event.type == "stream-retry"
