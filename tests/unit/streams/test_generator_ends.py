"""How the streams of `django_sse.streams.generator` end: left, failed, cancelled, abandoned."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from django_sse import Event
from django_sse.dialects import AnswerDecoder, AnswerEncoder, Dialect
from django_sse.dialects.plain import PLAIN
from django_sse.exceptions import StreamError
from django_sse.streams.ends import INTERRUPTED, end_frames
from django_sse.streams.generator import GeneratorStream
from tests.generators import (
    FAILED,
    HEARTBEAT,
    Errors,
    Walk,
    as_async,
    chunk_of,
    frame,
    in_form,
    make,
    read,
)


@pytest.fixture
def errors() -> Errors:
    return Errors()


@pytest.fixture
def soon_abandoned(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"HEARTBEAT": 0.02}}
    monkeypatch.setattr("django_sse.streams.generator._ABANDONED_AFTER", 0.05)
    monkeypatch.setattr("django_sse.streams.thread_producer._LOOK", 0.02)


def failing(error: BaseException | type[BaseException]) -> Generator[str]:
    yield "first"
    raise error


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


async def test_the_body_of_a_drained_stream_ends_after_its_generator() -> None:
    cleaned: list[bool] = []

    async def generator() -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned.append(True)

    stream = make(generator())
    assert await chunk_of(stream) == frame("one")
    stream.drain()
    assert b"stream-retry" in await chunk_of(stream)
    # The client has its last frame already; only the server is kept waiting.
    assert cleaned == []
    assert await read(stream) == b""
    assert cleaned == [True]


# -- errors


class Odd(BaseException):
    """No Exception, as of a framework that ends its own tasks with one."""


@pytest.mark.parametrize(
    ("sync", "error"),
    [
        (False, ValueError("secret")),
        (True, ValueError("secret")),
        (False, Odd()),
        (True, SystemExit()),
    ],
)
async def test_an_error_is_reported_before_it_is_sent(
    sync: bool, error: BaseException, errors: Errors
) -> None:
    async with asyncio.timeout(30):
        sent = await read(make(in_form(sync, failing(error)), errors))
    assert sent == frame("first") + FAILED
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


class Unsaid(AnswerEncoder):
    """Of a dialect that does not find its last words: nor, with `mute`, those of an error."""

    def __init__(self, done: Exception | None = None, *, mute: bool = False) -> None:
        self._done = done
        self._mute = mute

    def encode(self, value: Any) -> list[Event]:
        return [Event(value)]

    def done(self) -> list[Event]:
        if self._done is not None:
            raise self._done
        return []

    def failed(self, message: str, code: str = "error") -> list[Event]:
        return [] if self._mute else [Event(f"{code}: {message}")]

    def aborted(self) -> list[Event]:
        raise NotImplementedError


class Unspoken(Dialect):
    """The dialect of one encoder."""

    name = "unspoken"

    def __init__(self, encoder: AnswerEncoder) -> None:
        self._encoder = encoder

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return self._encoder

    def decoder(self) -> AnswerDecoder:
        raise NotImplementedError


def speak(source: Any, encoder: AnswerEncoder, errors: Errors) -> GeneratorStream:
    return GeneratorStream(source, Unspoken(encoder), on_error=errors.append)


SPOKEN_FAILURE = b"id: !end\ndata: error: The stream failed.\n\n"


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("done", [RuntimeError("no end"), None], ids=["raises", "is empty"])
@pytest.mark.parametrize(("mute", "end"), [(False, SPOKEN_FAILURE), (True, FAILED)])
async def test_an_end_that_the_dialect_cannot_say_is_an_error(
    sync: bool,
    done: Exception | None,
    mute: bool,
    end: bytes,
    errors: Errors,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answer() -> AsyncIterator[str]:
        yield "first"

    stream = speak(iter(["first"]) if sync else answer(), Unsaid(done, mute=mute), errors)
    async with asyncio.timeout(30):
        assert await read(stream) == frame("first") + end
    assert [type(error) for error in errors] == [ValueError if done is None else RuntimeError]
    assert ("cannot end in its dialect" in caplog.text) is mute


async def test_an_end_that_cannot_be_said_before_anything_else_is_raised_by_open(
    errors: Errors,
) -> None:
    stream = speak(iter([]), Unsaid(RuntimeError("no end")), errors)
    with pytest.raises(RuntimeError, match="no end"):
        await stream.open()
    assert errors == []


async def test_who_left_is_told_no_end(errors: Errors) -> None:
    walk = Walk()
    stream = speak(walk.endless(), Unsaid(RuntimeError("no end")), errors)
    await chunk_of(stream)
    stream.close()
    await stream.ended(30)
    assert walk.ended.is_set()
    assert errors == []


async def test_a_last_frame_that_the_dialect_cannot_say_is_plain(
    errors: Errors,
) -> None:
    walk = Walk()
    stream = speak(walk.waiting(), Unsaid(mute=True), errors)
    assert await chunk_of(stream) == frame("first")
    stream.drain()
    assert await read(stream) == end_frames(INTERRUPTED, PLAIN)
    await walk.wait_for_end()


async def test_an_error_without_a_text_ends_the_stream_too(errors: Errors) -> None:
    class Textless(StreamError):
        def __str__(self) -> str:
            raise AttributeError("detail")

    async with asyncio.timeout(30):
        assert await read(make(as_async(failing(Textless)), errors)) == frame("first") + FAILED


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_async_generator_that_exits_ends_the_loop_and_its_stream(
    error: BaseException, errors: Errors
) -> None:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        reading = loop.create_task(read(make(as_async(failing(error)), errors)))
        with pytest.raises(type(error)):
            loop.run_until_complete(reading)
        # Whoever runs the loop on finds the stream complete.
        sent = loop.run_until_complete(asyncio.wait_for(reading, 30))
    assert sent == frame("first") + FAILED
    assert errors == [error]


# -- a response that a middleware put another one in the place of


@pytest.mark.usefixtures("soon_abandoned")
async def test_a_stream_that_was_opened_and_is_never_read_ends_its_generator() -> None:
    walk = Walk()
    await make(walk.waiting()).open()
    await walk.wait_for_end()


@pytest.mark.usefixtures("soon_abandoned")
def test_the_same_of_one_that_was_opened_in_a_thread() -> None:
    walk = Walk()
    make(walk.endless_sync()).open_in_thread()
    assert walk.ended.wait(30)


@pytest.mark.usefixtures("soon_abandoned")
async def test_a_stream_that_is_read_is_never_abandoned() -> None:
    walk = Walk()
    stream = make(walk.waiting())
    await stream.open()
    assert await chunk_of(stream) == frame("first")
    assert [await anext(stream) for _ in range(5)] == [HEARTBEAT] * 5
    assert not walk.ended.is_set()
    stream.close()
    await walk.wait_for_end()
