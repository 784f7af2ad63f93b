from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest
from django.db import connections

from django_sse import Event, afinish, apublish, apublish_many, calls, group_commit
from django_sse.exceptions import (
    ChannelFinished,
    DataNotSerializable,
    LogUnavailable,
    PublishNotAllowed,
)
from django_sse.hub.channel_stream import ChannelStream
from django_sse.log import get_log
from django_sse.log.base import Appended, Entry, Outcome
from django_sse.log.memory import MemoryLog
from django_sse.log.model import ModelLog
from django_sse.notifiers import Wakeup
from django_sse.notifiers.local import LocalNotifier
from tests.appending import append_to
from tests.options import Overrides
from tests.positions import seq_of, untagged
from tests.unit.hub.support import eventually
from tests.unit.log.conftest import memory_log
from tests.unit.log.support import elsewhere, entry, run_python, start_python, terminal, texts

__all__ = ["memory_log"]

pytestmark = pytest.mark.django_db(transaction=True)

TIMEOUT = 60
NAME = "django_sse-group-commit"


class WatchedLog(ModelLog):
    """Remembers what was appended together, and can be held there."""

    def __init__(self) -> None:
        self.batches: list[list[list[Entry]]] = []
        self.holds = False
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.errors: dict[int, BaseException] = {}

    def append_free(
        self, groups: Sequence[Sequence[Entry]]
    ) -> tuple[list[Appended], list[Outcome]]:
        self.batches.append([list(group) for group in groups])
        self.reached.set()
        if self.holds:
            assert self.go_on.wait(TIMEOUT)
        if error := self.errors.get(len(self.batches) - 1):
            raise error
        return super().append_free(groups)

    def batch(self, number: int) -> list[list[str]]:
        """The data of each caller in one transaction."""
        return [[entry.data for entry in group] for group in self.batches[number]]


class WatchedNotifier(LocalNotifier):
    told: list[Wakeup] = []
    error: Exception | None = None

    def notify(self, wakeups: Sequence[Wakeup]) -> None:
        self.told.extend(wakeups)
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def configured(settings: Any, constants: Overrides) -> Iterator[None]:
    constants(LOG=f"{__name__}.WatchedLog", THREAD_IDLE=0.05)
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "NOTIFIER": f"{__name__}.WatchedNotifier"}
    watched = log()
    watched.__init__()  # type: ignore[misc]
    WatchedNotifier.told = []
    WatchedNotifier.error = None
    yield
    watched.go_on.set()


def log() -> WatchedLog:
    return cast("WatchedLog", get_log())


async def stored(channel: str = "c") -> list[str]:
    return await asyncio.to_thread(elsewhere, partial(texts, get_log(), channel))


@asynccontextmanager
async def held() -> AsyncIterator[None]:
    """A transaction is under way; it goes on when the block ends."""
    log().holds = True
    first = asyncio.create_task(apublish("first", "first"))
    await asyncio.to_thread(log().reached.wait, TIMEOUT)
    try:
        yield
    finally:
        log().holds = False
        log().go_on.set()
        await first


async def queued(*calls: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """Tasks of ``calls``, once all of them wait for their transaction."""
    before = len(group_commit._writer._calls)
    tasks = [asyncio.create_task(call) for call in calls]
    await eventually(lambda: len(group_commit._writer._calls) == before + len(calls))
    return tasks


# -- together


async def test_one_that_comes_alone_is_committed_at_once() -> None:
    for number in range(3):
        assert seq_of(await apublish("c", str(number)) or "") == number + 1
    assert [log().batch(n) for n in range(3)] == [[["0"]], [["1"]], [["2"]]]
    assert await stored() == ["0", "1", "2"]


async def test_what_arrives_during_a_commit_shares_the_next_in_its_order() -> None:
    async with held():
        tasks = await queued(*[apublish("c", str(number)) for number in range(60)])
    ids = await asyncio.gather(*tasks)
    assert len(log().batches) == 2
    assert log().batch(1) == [[str(number)] for number in range(60)]
    assert await stored() == [str(number) for number in range(60)]
    assert [seq_of(id) for id in ids] == list(range(1, 61))


async def test_threads_and_loops_share_a_commit_and_each_keeps_its_order() -> None:
    async def write(name: str) -> None:
        for number in range(20):
            await asyncio.gather(*[apublish("c", f"{name}:{number}:{each}") for each in range(5)])

    async with held():
        loops = [asyncio.to_thread(asyncio.run, write(name)) for name in "ab"]
        writing = [asyncio.ensure_future(each) for each in [*loops, write("c")]]
        # Five of each loop.
        await eventually(lambda: len(group_commit._writer._calls) == 15)
    await asyncio.gather(*writing)
    assert {group[0].data[0] for group in log().batches[1]} == {"a", "b", "c"}
    found = await stored()
    for name in "abc":
        expected = [f"{name}:{number}:{each}" for number in range(20) for each in range(5)]
        assert [each for each in found if each[0] == name] == expected


async def test_each_is_refused_for_itself() -> None:
    await asyncio.to_thread(elsewhere, lambda: append_to(ModelLog(), [terminal("ended")]))
    async with held():
        tasks = await queued(
            apublish("c", "1"),
            apublish("ended", "never"),
            apublish_many([("c", "never"), ("ended", "never")]),
            apublish_many([("c", "2"), ("d", "1"), ("c", "3")]),
            afinish("ended"),
            afinish("c"),
            apublish("c", "late"),
            afinish("c", "error"),
            apublish("d", "2"),
        )
        with pytest.raises(DataNotSerializable):
            await apublish("c", object())
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    one, refused, many, ids, false, true, late, lost, d = cast("list[Any]", outcomes)
    assert len(log().batches) == 2
    assert [seq_of(each) for each in [one, *ids, d]] == [1, 2, 1, 3, 2]
    assert [type(each) for each in (refused, many, late)] == [ChannelFinished] * 3
    assert (false, true, lost) == (False, True, False)
    assert await stored() == ["1", "2", "3", "[DONE]"]
    assert await stored("d") == ["1", "2"]


# -- bounds


async def test_a_transaction_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_EVENTS", 6)
    monkeypatch.setattr(calls, "MAX_CHANNELS", 3)
    monkeypatch.setattr(calls, "MAX_CHARACTERS", 100)
    async with held():
        tasks = await queued(
            *[apublish("a", "1") for _ in range(8)],
            apublish_many([("a", "2")] * 9),
            *[apublish(name, "3") for name in "bcdef"],
            apublish("a", "x" * 60),
            apublish("a", "y" * 60),
            apublish("a", "z" * 200),
        )
    await asyncio.gather(*tasks)
    sizes = [[len(group) for group in batch] for batch in log().batches]
    assert sizes == [[1], [1] * 6, [1] * 2, [9], [1] * 3, [1] * 3, [1], [1]]
    assert [each for each in await stored("a") if each != "2"] == [
        *["1"] * 8,
        "x" * 60,
        "y" * 60,
        "z" * 200,
    ]


def test_a_transaction_stays_below_what_databases_take() -> None:
    assert calls.MAX_CHARACTERS * 3 < 4 << 20


# -- cancelled


async def test_a_caller_that_leaves_takes_its_waiting_events_back() -> None:
    async with held():
        stays, leaves, stays_too = await queued(
            apublish("c", "1"), apublish_many([("c", "never"), ("d", "never")]), apublish("c", "2")
        )
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
    await asyncio.gather(stays, stays_too)
    assert await stored() == ["1", "2"]
    assert await stored("d") == []


async def test_what_is_in_a_transaction_already_is_committed() -> None:
    log().holds = True
    task = asyncio.create_task(apublish("c", "1"))
    await asyncio.to_thread(log().reached.wait, TIMEOUT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    log().holds = False
    log().go_on.set()
    await apublish("c", "2")
    assert await stored() == ["1", "2"]


async def test_when_all_left_nothing_is_asked_of_the_log() -> None:
    async with held():
        tasks = await queued(*[apublish("c", "never") for _ in range(5)])
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    await apublish("c", "1")
    assert [len(batch) for batch in log().batches] == [1, 1]
    assert await stored() == ["1"]


async def test_callers_that_left_leave_nothing_behind() -> None:
    async with held():
        stays, *leave = await queued(*[apublish("c", str(number)) for number in range(6)])
        for task in leave:
            task.cancel()
        await asyncio.wait(leave)
        assert len(group_commit._writer._calls) == 1
    await stays
    assert await stored() == ["0"]


async def test_a_loop_that_is_gone_keeps_nobody_else_waiting() -> None:
    async with held():
        loop = asyncio.new_event_loop()
        left = loop.create_task(apublish("c", "left"))
        before = len(group_commit._writer._calls)

        def begin_and_leave() -> None:
            while len(group_commit._writer._calls) == before:
                loop.run_until_complete(asyncio.sleep(0))
            loop.close()

        await asyncio.to_thread(begin_and_leave)
        (stays,) = await queued(apublish("c", "1"))
    await stays
    left._log_destroy_pending = False  # type: ignore[attr-defined]
    assert await stored() == ["left", "1"]


# -- what a caller that was told can rely on


async def test_the_events_are_committed_and_told_before_their_caller() -> None:
    stream = ChannelStream("c", since="earliest")
    try:
        assert b"stream-open" in await anext(stream)
        id = await apublish("c", Event("told", event="type"))
        assert await stored() == ["told"]
        assert id is not None
        assert [f"{each.epoch}-{each.seq}-{each.tag}" for each in WatchedNotifier.told] == [id]
        async with asyncio.timeout(TIMEOUT):
            assert b"told" in await anext(stream)
    finally:
        await stream.aclose()


async def test_a_notifier_that_fails_does_not_unpublish(caplog: pytest.LogCaptureFixture) -> None:
    WatchedNotifier.error = RuntimeError("no way to tell")
    assert await apublish("c", "1")
    assert await stored() == ["1"]
    assert "no way to tell" in caplog.text


@pytest.mark.parametrize(
    "error", [LogUnavailable("away"), ValueError("a bug"), SystemExit("of the thread")]
)
async def test_an_error_of_the_log_is_told_to_all_and_the_next_are_committed(
    error: BaseException,
) -> None:
    log().errors[1] = error
    async with held():
        tasks = await queued(*[apublish("c", "never") for _ in range(3)])
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(error) in str(each) for each in found] == [True] * 3
    assert await apublish("c", "1")
    assert await stored() == ["1"]


async def test_with_autocommit_off_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "AUTOCOMMIT", False)
    with pytest.raises(PublishNotAllowed, match=r"DATABASES.*AUTOCOMMIT"):
        await apublish("c", "never")
    assert log().batches == []


def test_what_a_killed_process_was_told_is_committed() -> None:
    process = start_python(
        """
        import asyncio

        async def write(number):
            while True:
                print(await apublish(f"c{number}", "x"), flush=True)

        async def main():
            await asyncio.gather(*[write(number) for number in range(8)])

        asyncio.run(main())
        """
    )
    assert process.stdout is not None
    with process:
        told = [process.stdout.readline() for _ in range(200)]
        process.kill()
        told += process.stdout.readlines()
    # The last line may have been cut.
    ids = {line.strip() for line in told if line.endswith("\n")}
    heads = get_log().heads([f"c{number}" for number in range(8)]).values()
    kept = {f"{head.epoch}-{seq}" for head in heads for seq in range(1, head.head + 1)}
    assert len(ids) >= 200
    assert {untagged(id) for id in ids} <= kept


# -- the thread


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


async def test_one_thread_while_somebody_publishes_and_none_after() -> None:
    await eventually(lambda: not writers())
    async with held():
        tasks = await queued(*[apublish(f"c{number}", "x") for number in range(20)])
        assert len(writers()) == 1
    await asyncio.gather(*tasks)
    await eventually(lambda: not writers())
    assert await apublish("c0", "again")


async def test_without_a_thread_every_waiting_caller_is_told_and_the_next_are_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start
    waiting = threading.Event()

    def refuse(thread: threading.Thread) -> None:
        if thread.name != NAME:
            return start(thread)
        # What other threads and loops published meanwhile waits for this one.
        assert waiting.wait(TIMEOUT)
        raise RuntimeError("can't start new thread")

    async def publish_two() -> list[Any]:
        calls = [apublish("c", f"never {number}") for number in range(2)]
        async with asyncio.timeout(TIMEOUT):
            return await asyncio.gather(*calls, return_exceptions=True)

    await eventually(lambda: not writers())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        first = asyncio.create_task(asyncio.to_thread(asyncio.run, publish_two()))
        await eventually(lambda: group_commit._writer._calls)
        second = await queued(apublish("c", "never"))
        waiting.set()
        async with asyncio.timeout(TIMEOUT):
            found = [*await first, *await asyncio.gather(*second, return_exceptions=True)]
    assert [type(each) for each in found] == [LogUnavailable] * 3
    assert "can't start new thread" in str(found[0])
    assert await asyncio.wait_for(apublish("c", "1"), TIMEOUT)
    assert await stored() == ["1"]


async def test_a_forked_child_has_a_writer_of_its_own() -> None:
    code, output = await asyncio.to_thread(
        run_python,
        """
        import warnings
        # Of Python 3.12 and newer, about the very thing that is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        import asyncio, threading
        from django.db import connection
        from django_sse import group_commit
        from django_sse.log import get_log

        async def write(data):
            return await apublish("c", data)

        ready = threading.Event()
        with group_commit._writer._lock:
            # Its calls wait for ever in a child that has the parent's lock.
            parent = threading.Thread(target=lambda: (ready.set(), asyncio.run(write("parent"))))
            parent.start()
            assert ready.wait(60)
            others_wait()
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                os._exit(0 if asyncio.run(write("child")) else 1)
            _, status = os.waitpid(child, 0)
        parent.join(60)
        print(os.waitstatus_to_exitcode(status))
        """,
    )
    assert (code, output.strip()) == (0, "0")
    assert sorted(await stored()) == ["child", "parent"]


# -- a log in memory


async def test_a_log_in_memory_needs_no_thread(memory_log: MemoryLog) -> None:
    await eventually(lambda: not writers())
    stream = ChannelStream("c")
    try:
        assert b"stream-open" in await anext(stream)
        ids = await asyncio.gather(*[apublish("c", str(number)) for number in range(10)])
        assert not writers()
        assert [seq_of(id) for id in ids if id] == list(range(1, 11))
        assert texts(memory_log, "c") == [str(number) for number in range(10)]
        async with asyncio.timeout(TIMEOUT):
            assert b"data: 0" in await anext(stream)
    finally:
        await stream.aclose()
    assert await afinish("c") is True
    assert await afinish("c") is False
    with pytest.raises(ChannelFinished):
        await apublish("c", "late")
    assert WatchedNotifier.told == []


async def test_who_publishes_to_memory_in_a_loop_leaves_room_for_others(
    memory_log: MemoryLog,
) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    # Without the question whether this is a user's test, which suspends, too.
    for _ in range(20):
        await group_commit.append([entry("c")])
    assert turns >= 19
    task.cancel()
