from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import DatabaseError, connections
from django.test import TestCase
from django.utils import translation

from django_sse.exceptions import (
    DataNotSerializable,
    EventTooLarge,
    InexpressibleValue,
    Overloaded,
    TooManyStreams,
)
from django_sse.streams.producers import TaskProducer
from django_sse.streams.producers import produce as make_producer
from django_sse.streams.thread_producer import ThreadProducer
from tests.generators import as_async
from tests.options import Overrides


class Basket:
    """A sink that keeps what it gets; its test says when it is full and when nobody reads."""

    def __init__(self, room: int = 1000) -> None:
        self.items: list[Any] = []
        self.room = room
        self.closed = False
        self.opening = False
        self.errors: list[BaseException] = []
        self.calls: list[str] = []
        self._changed = threading.Condition()

    owner: str | None = None

    @property
    def full(self) -> bool:
        return len(self.items) >= self.room

    @property
    def wants_turn(self) -> bool:
        return True

    def put(self, item: Any) -> None:
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    def fail(self, error: BaseException) -> bool:
        self.errors.append(error)
        self.calls.append("fail")
        return not self.opening

    def report(self, error: BaseException) -> None:
        assert error is self.errors[-1]
        self.calls.append("report")

    def complete(self, error: BaseException | None = None) -> None:
        with self._changed:
            self.calls.append("complete" if error is None else "complete with error")
            self._changed.notify_all()

    def _wait(self, reached: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(reached, 30), (self.items, self.calls)

    async def wait_for_items(self, count: int) -> None:
        await asyncio.to_thread(self._wait, lambda: len(self.items) >= count)

    async def wait_for_end(self) -> None:
        await asyncio.to_thread(self._wait, lambda: any("complete" in c for c in self.calls))


async def numbers(ended: list[str], count: int = 5) -> AsyncIterator[int]:
    try:
        for number in range(count):
            yield number
    finally:
        await asyncio.sleep(0)
        ended.append("ended")


def numbers_sync(ended: list[str], count: int = 5) -> Iterator[int]:
    try:
        yield from range(count)
    finally:
        ended.append("ended")


def produce(sync: bool, sink: Basket, ended: list[str]) -> Any:
    """The producer of five numbers."""
    if sync:
        return ThreadProducer(sink, numbers_sync(ended))
    return task_producer(sink, numbers(ended))


def task_producer(sink: Basket, source: AsyncIterable[Any]) -> TaskProducer:
    return TaskProducer(sink, source, own_thread=True)


def produce_of(sync: bool, sink: Basket, source: Generator[Any]) -> Any:
    """The producer of a generator: as it is in a thread, as an async generator in a task."""
    return ThreadProducer(sink, source) if sync else task_producer(sink, as_async(source))


def failing(error: BaseException) -> Generator[str]:
    yield "first"
    raise error


both = pytest.mark.parametrize("sync", [False, True], ids=["task", "thread"])


@both
async def test_it_hands_over_everything_and_then_says_so(sync: bool) -> None:
    ended: list[str] = []
    sink = Basket()
    produce(sync, sink, ended)
    await sink.wait_for_end()
    assert sink.items == [0, 1, 2, 3, 4]
    assert sink.calls == ["complete"]
    assert ended == ["ended"]


@both
async def test_it_waits_for_room_and_goes_on(sync: bool) -> None:
    ended: list[str] = []
    sink = Basket(room=2)
    producer = produce(sync, sink, ended)
    await sink.wait_for_items(2)
    assert sink.calls == []
    sink.room = 4
    producer.resume()
    await sink.wait_for_items(4)
    assert sink.calls == []
    sink.room = 100
    producer.resume()
    await sink.wait_for_end()
    assert sink.items == [0, 1, 2, 3, 4]


@both
async def test_a_resume_without_room_is_no_resume(sync: bool) -> None:
    ended: list[str] = []
    sink = Basket(room=1)
    producer = produce(sync, sink, ended)
    await sink.wait_for_items(1)
    for _ in range(10):
        producer.resume()
        await asyncio.sleep(0)
    assert sink.items == [0]
    sink.closed = True
    producer.stop()


@both
async def test_stopped_at_its_yield_the_generator_is_closed(sync: bool) -> None:
    ended: list[str] = []
    sink = Basket(room=1)
    producer = produce(sync, sink, ended)
    await sink.wait_for_items(1)
    sink.closed = True
    producer.stop()
    await sink.wait_for_end()
    assert sink.items == [0]
    assert ended == ["ended"]


async def test_stopped_twice_its_finally_is_not_interrupted() -> None:
    cleaning, cleaned = asyncio.Event(), asyncio.Event()
    go_on = asyncio.Event()

    async def generator() -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await go_on.wait()
            cleaned.set()

    sink = Basket()
    producer = task_producer(sink, generator())
    await sink.wait_for_items(1)
    producer.stop()
    await cleaning.wait()
    producer.stop()
    go_on.set()
    await producer.ended(30)
    assert cleaned.is_set()


async def test_stopped_at_its_own_await_the_generator_is_cancelled_there() -> None:
    seen: list[str] = []
    began = asyncio.Event()

    async def waits() -> AsyncIterator[str]:
        yield "first"
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    sink = Basket()
    producer = TaskProducer(sink, waits(), own_thread=True)
    await began.wait()
    sink.closed = True
    producer.stop()
    await sink.wait_for_end()
    assert seen == ["cancelled"]
    assert "report" not in sink.calls


@both
async def test_a_failure_that_somebody_will_raise_is_not_reported(sync: bool) -> None:
    ended: list[str] = []
    sink = Basket()
    sink.opening = True
    sink.put = _refuse  # type: ignore[method-assign]
    produce(sync, sink, ended)
    await sink.wait_for_end()
    assert sink.calls == ["fail", "complete with error"]
    assert ended == ["ended"]


def _refuse(item: Any) -> None:
    raise ValueError(item)


class Odd(BaseException):
    """No Exception, as of a framework that ends its own tasks with one."""


@both
@pytest.mark.parametrize("error", [ValueError(), Odd(), GeneratorExit()], ids=repr)
async def test_an_exception_of_any_kind_is_told_reported_and_then_final(
    sync: bool, error: BaseException
) -> None:
    sink = Basket()
    producer = produce_of(sync, sink, failing(error))
    await sink.wait_for_end()
    await producer.ended(30)
    assert sink.errors == [error]
    assert sink.calls == ["fail", "report", "complete with error"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_async_generator_that_exits_ends_the_loop_but_its_sink_is_told_before(
    error: BaseException,
) -> None:
    async def wait(sink: Basket) -> None:
        await task_producer(sink, as_async(failing(error))).ended(30)

    sink = Basket()
    with pytest.raises(type(error)):
        asyncio.run(wait(sink))
    assert sink.calls == ["fail", "report", "complete with error"]


def test_a_task_that_goes_with_its_loop_is_no_error() -> None:
    sink = Basket(room=1)

    async def items() -> AsyncIterator[str]:
        yield "first"

    async def begin() -> None:
        TaskProducer(sink, items(), own_thread=False)
        await sink.wait_for_items(1)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    # Not asyncio.run, which cancels what is left.
    (left,) = asyncio.all_tasks(loop)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    left.get_coro().close()
    assert sink.calls == []


@both
async def test_an_error_that_cannot_be_reported_ends_the_source_all_the_same(
    sync: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Deaf(Basket):
        def report(self, error: BaseException) -> None:
            raise RuntimeError("can't start new thread")

    sink = Deaf()
    producer = produce_of(sync, sink, failing(ValueError("the cause")))
    await sink.wait_for_end()
    await producer.ended(30)
    assert sink.calls == ["fail", "complete with error"]
    assert "can't start new thread" in caplog.text
    assert "the cause" in caplog.text


@both
async def test_an_end_that_cannot_be_said_is_an_error(sync: bool) -> None:
    class Mute(Basket):
        def complete(self, error: BaseException | None = None) -> None:
            if error is None:
                raise RuntimeError("no last word")
            super().complete(error)

    sink = Mute()
    produce(sync, sink, [])
    await sink.wait_for_end()
    assert sink.calls == ["fail", "report", "complete with error"]
    assert [str(error) for error in sink.errors] == ["no last word"]


@both
async def test_the_generator_sees_the_language_of_its_request(sync: bool) -> None:
    def language() -> Generator[str]:
        yield translation.get_language()

    sink = Basket()
    with translation.override("de"):
        produce_of(sync, sink, language())
    await sink.wait_for_end()
    assert sink.items == ["de"]


async def test_sync_calls_of_a_task_share_one_thread_of_its_own() -> None:
    async def threads() -> AsyncIterator[threading.Thread]:
        for _ in range(3):
            yield await sync_to_async(threading.current_thread)()

    sinks = [Basket(), Basket()]
    for sink in sinks:
        TaskProducer(sink, threads(), own_thread=True)
    for sink in sinks:
        await sink.wait_for_end()
    (first,), (second,) = (set(sink.items) for sink in sinks)
    assert first is not second
    assert threading.main_thread() not in (first, second)


async def test_a_thread_goes_when_its_generator_waits_longer_than_it_may_idle(
    constants: Overrides,
) -> None:
    constants(THREAD_IDLE=0.01)
    gate = asyncio.Event()

    async def threads() -> AsyncIterator[threading.Thread]:
        yield await sync_to_async(threading.current_thread)()
        await gate.wait()
        yield await sync_to_async(threading.current_thread)()

    sink = Basket()
    TaskProducer(sink, threads(), own_thread=True)
    await sink.wait_for_items(1)
    await asyncio.to_thread(sink.items[0].join, 30)
    assert not sink.items[0].is_alive()
    gate.set()
    await sink.wait_for_end()
    assert sink.items[1] is not sink.items[0]


@pytest.mark.django_db(transaction=True)
async def test_the_connection_of_a_sync_generator_ends_with_it() -> None:
    def users() -> Iterator[Any]:
        User.objects.count()
        # Not the proxy, which would show the reader its own connection.
        yield connections["default"]

    sink = Basket(room=1)
    producer = ThreadProducer(sink, users())
    await sink.wait_for_items(1)
    assert sink.items[0].connection is not None
    sink.room = 2
    producer.resume()
    await sink.wait_for_end()
    await asyncio.to_thread(_join_generator_threads)
    assert sink.items[0].connection is None


def _join_generator_threads() -> None:
    for thread in threading.enumerate():
        if thread.name == "django_sse-generator":
            thread.join(30)
            assert not thread.is_alive()


# -- items that are refused


def picky(refused: Exception) -> Basket:
    """A sink that takes all but the item "bad"."""

    class Picky(Basket):
        def put(self, item: Any) -> None:
            if item == "bad":
                raise refused
            super().put(item)

    return Picky()


REFUSALS = [
    InexpressibleValue("the dialect has no form for it"),
    EventTooLarge("too large"),
    DataNotSerializable("not JSON"),
]


@both
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
async def test_an_item_that_is_refused_is_an_error_at_its_yield(
    sync: bool, refusal: Exception
) -> None:
    caught: list[BaseException] = []

    def careful() -> Generator[str]:
        yield "one"
        try:
            yield "bad"
        except type(refusal) as error:
            caught.append(error)
            yield "instead"
        yield "two"

    sink = picky(refusal)
    produce_of(sync, sink, careful())
    await sink.wait_for_end()
    assert caught == [refusal]
    assert sink.items == ["one", "instead", "two"]
    assert sink.calls == ["complete"]


@both
async def test_not_caught_it_ends_the_generator_at_that_line(sync: bool) -> None:
    lines: list[str] = []

    def careless() -> Generator[str]:
        try:
            yield "bad"
            yield "never"
        finally:
            lines.append("left")

    refusal = InexpressibleValue("no form for it")
    sink = picky(refusal)
    produce_of(sync, sink, careless())
    await sink.wait_for_end()
    assert (sink.items, lines, sink.errors) == ([], ["left"], [refusal])
    assert sink.calls == ["fail", "report", "complete with error"]
    names = [frame.name for frame in traceback.extract_tb(refusal.__traceback__)]
    assert "careless" in names


@both
async def test_who_answers_a_refusal_with_the_end_has_ended(sync: bool) -> None:
    def gives_up() -> Generator[str]:
        yield "one"
        with suppress(InexpressibleValue):
            yield "bad"

    sink = picky(InexpressibleValue("no form for it"))
    produce_of(sync, sink, gives_up())
    await sink.wait_for_end()
    assert (sink.items, sink.calls) == (["one"], ["complete"])


@both
async def test_who_answers_a_refusal_with_another_bad_item_hears_of_that_too(sync: bool) -> None:
    caught: list[BaseException] = []

    def stubborn() -> Generator[str]:
        for _ in range(3):
            try:
                yield "bad"
            except InexpressibleValue as error:
                caught.append(error)
        yield "good"

    sink = picky(InexpressibleValue("no form for it"))
    produce_of(sync, sink, stubborn())
    await sink.wait_for_end()
    assert len(caught) == 3
    assert (sink.items, sink.calls) == (["good"], ["complete"])


@both
async def test_an_iterable_that_can_be_told_nothing_ends(sync: bool) -> None:
    class Items:
        async def __aiter__(self) -> AsyncIterator[str]:
            for each in ("one", "bad", "never"):
                yield each

    sink = picky(InexpressibleValue("no form for it"))
    if sync:
        ThreadProducer(sink, ["one", "bad", "never"])
    else:
        task_producer(sink, Items())
    await sink.wait_for_end()
    assert (sink.items, sink.calls) == (["one"], ["fail", "report", "complete with error"])


# -- an object that is iterated by a generator of its own


class Rows:
    """An object whose ``__iter__`` or ``__aiter__`` is a generator; it has something to close."""

    def __init__(self) -> None:
        self.steps: list[object] = []

    def _ended(self, place: object) -> None:
        self.steps.append("ended" if place is _here() else "ended elsewhere")

    async def __aiter__(self) -> AsyncIterator[str]:
        place = _here()
        try:
            with self._caught():
                yield "bad"
            yield "good"
        finally:
            await asyncio.sleep(0)
            self._ended(place)

    def __iter__(self) -> Iterator[str]:
        place = _here()
        try:
            with self._caught():
                yield "bad"
            yield "good"
        finally:
            self._ended(place)

    @contextmanager
    def _caught(self) -> Iterator[None]:
        try:
            yield
        except InexpressibleValue:
            self.steps.append("caught")

    async def aclose(self) -> None:
        self.steps.append("closed")

    def close(self) -> None:
        self.steps.append("closed")


def _here() -> object:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return threading.current_thread()


@both
async def test_the_generator_behind_an_object_hears_of_a_refusal_at_its_yield(sync: bool) -> None:
    rows, sink = Rows(), picky(InexpressibleValue("no form for it"))
    producer = ThreadProducer(sink, rows) if sync else task_producer(sink, rows)
    await sink.wait_for_end()
    await producer.ended(30)
    assert (sink.items, sink.calls) == (["good"], ["complete"])
    assert rows.steps == ["caught", "ended", "closed"]


@both
async def test_the_generator_behind_an_object_is_closed_where_it_ran(sync: bool) -> None:
    rows, sink = Rows(), Basket(room=1)
    producer = ThreadProducer(sink, rows) if sync else task_producer(sink, rows)
    await sink.wait_for_items(1)
    sink.closed = True
    producer.stop()
    await producer.ended(30)
    assert rows.steps == ["ended", "closed"]


async def test_a_sync_generator_that_was_cancelled_inside_has_failed() -> None:
    def asks() -> Iterator[str]:
        yield "first"
        raise asyncio.CancelledError

    sink = Basket()
    await ThreadProducer(sink, asks()).ended(30)
    (error,) = sink.errors
    assert isinstance(error, RuntimeError)
    assert isinstance(error.__cause__, asyncio.CancelledError)
    assert sink.calls == ["fail", "report", "complete with error"]


# -- where it is iterated


async def test_an_async_source_gets_a_task_and_another_a_thread() -> None:
    first, second = Basket(), Basket()
    assert isinstance(await make_producer(first, numbers([])), TaskProducer)
    assert isinstance(await make_producer(second, numbers_sync([])), ThreadProducer)
    for sink in (first, second):
        await sink.wait_for_end()
        assert sink.items == [0, 1, 2, 3, 4]


class InsideAUsersTestCase(TestCase):
    async def test_a_sync_source_sees_the_rows_of_the_test(self) -> None:
        def names() -> Iterator[str]:
            for user in User.objects.all():
                yield user.username

        await User.objects.acreate(username="anna")
        sink = Basket()
        producer = await make_producer(sink, names())
        await producer.ended(30)
        assert (sink.items, sink.calls) == (["anna"], ["complete"])

    async def test_and_is_told_of_an_item_that_is_refused(self) -> None:
        left: list[str] = []

        def answer() -> Iterator[str]:
            try:
                yield "one"
                yield "bad"
            finally:
                left.append("left")

        sink = picky(InexpressibleValue("no form for it"))
        producer = await make_producer(sink, answer())
        await producer.ended(30)
        assert (sink.items, left) == (["one"], ["left"])
        assert sink.calls == ["fail", "report", "complete with error"]

    async def test_which_it_may_catch(self) -> None:
        def answer() -> Iterator[str]:
            yield "one"
            try:
                yield "bad"
            except InexpressibleValue:
                yield "instead"

        sink = picky(InexpressibleValue("no form for it"))
        producer = await make_producer(sink, answer())
        await producer.ended(30)
        assert (sink.items, sink.calls) == (["one", "instead"], ["complete"])


# -- as many threads as allowed


@pytest.fixture
def one_place(settings: Any) -> None:
    settings.DJANGO_SSE = {"LIMITS": {"SYNC_GENERATORS": 1}}
    _join_generator_threads()


async def test_a_thread_too_many_is_refused_and_a_place_that_is_left_is_free_again(
    settings: Any,
) -> None:
    settings.DJANGO_SSE = {"LIMITS": {"SYNC_GENERATORS": 2}}
    await asyncio.to_thread(_join_generator_threads)
    ended: list[str] = []
    sinks = [Basket(room=1), Basket(room=1)]
    producers = [ThreadProducer(sink, numbers_sync(ended)) for sink in sinks]
    with pytest.raises(Overloaded, match="SYNC_GENERATORS allows 2") as raised:
        ThreadProducer(Basket(), numbers_sync(ended))
    assert "async def" in str(raised.value)
    for sink, producer in zip(sinks, producers, strict=True):
        await sink.wait_for_items(1)
        sink.closed = True
        producer.stop()
    await asyncio.to_thread(_join_generator_threads)
    assert ended == ["ended", "ended"]
    last = Basket()
    ThreadProducer(last, numbers_sync(ended))
    await last.wait_for_end()


async def test_one_owner_gets_a_quarter_of_the_threads(settings: Any) -> None:
    settings.DJANGO_SSE = {"LIMITS": {"SYNC_GENERATORS": 8}}
    await asyncio.to_thread(_join_generator_threads)

    def start(owner: str | None) -> None:
        sink = Basket(room=1)
        sink.owner = owner
        started.append((sink, ThreadProducer(sink, numbers_sync([]))))

    async def end() -> None:
        while started:
            sink, producer = started.pop()
            sink.closed = True
            producer.stop()
        await asyncio.to_thread(_join_generator_threads)

    started: list[tuple[Basket, ThreadProducer]] = []
    for owner in ("user:1", "user:1", "user:2", None, None, None):
        start(owner)
    with pytest.raises(TooManyStreams, match="2 sync generators of this owner"):
        start("user:1")
    start("user:2")
    await end()
    start("user:1")
    await end()


@pytest.mark.usefixtures("one_place")
async def test_a_generator_that_fails_gives_its_place_back() -> None:

    for _ in range(3):
        sink = Basket()
        ThreadProducer(sink, failing(SystemExit()))
        await sink.wait_for_end()
        await asyncio.to_thread(_join_generator_threads)
        assert [type(error) for error in sink.errors] == [SystemExit]


@pytest.mark.usefixtures("one_place")
async def test_a_thread_that_the_system_refuses_is_a_server_that_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(Overloaded, match="async def") as raised:
                ThreadProducer(Basket(), numbers_sync([]))
            assert "can't start new thread" in str(raised.value.__cause__)
    sink = Basket()
    ThreadProducer(sink, numbers_sync([]))
    await sink.wait_for_end()
    assert sink.items == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("one_place")
async def test_a_connection_that_cannot_be_closed_does_not_keep_the_generators_place(
    caplog: pytest.LogCaptureFixture,
) -> None:

    def fail() -> None:
        raise DatabaseError("closing a closed connection")

    def breaks() -> Iterator[str]:
        connections["default"].close = fail  # type: ignore[method-assign]
        yield "first"

    for _ in range(2):
        sink = Basket()
        producer = ThreadProducer(sink, breaks())
        async with asyncio.timeout(30):
            await producer.ended(None)
        assert (sink.items, sink.calls) == (["first"], ["complete"])
    assert "closing a closed connection" in caplog.text
