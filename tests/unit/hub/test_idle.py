"""What a stream costs that has nothing to send: memory, and nothing else."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from django_sse.hub.channel_stream import ChannelStream
from django_sse.wire import HEARTBEAT
from tests.unit.hub.support import TIMEOUT, WatchedLog, commit, eventually

T = TypeVar("T")

STREAMS = 200

pytestmark = pytest.mark.usefixtures("notifier")


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the timers that are set."""

    timers = 0

    def call_at(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        self.timers += 1
        return super().call_at(*args, **kwargs)


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        return runner.run(work)


def timers() -> int:
    """How many were set on this loop so far."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    return loop.timers


async def read(stream: ChannelStream) -> bytes:
    return await anext(stream)


@asynccontextmanager
async def idle(count: int) -> AsyncIterator[list[asyncio.Task[bytes]]]:
    """Streams that have sent their opening; gives their next reads, which wait."""
    streams = [ChannelStream("a") for _ in range(count)]
    for chunk in await asyncio.gather(*map(read, streams)):
        assert b"stream-open" in chunk
    reads = [asyncio.create_task(read(stream)) for stream in streams]
    for _ in range(5):
        await asyncio.sleep(0)
    assert all(stream._waiter is not None for stream in streams)
    yield reads
    for stream in streams:
        stream.close()
    await asyncio.gather(*reads, return_exceptions=True)


def test_idle_streams_set_no_timer() -> None:
    async def timers_of_the_streams() -> int:
        async with idle(1):
            before = timers()
            async with idle(STREAMS):
                return timers() - before

    assert run(timers_of_the_streams()) == 0


@pytest.mark.options(HEARTBEAT=0.05)
def test_a_heartbeat_of_all_streams_takes_no_timer_of_each() -> None:

    async def timers_of_the_ticks() -> int:
        async with idle(STREAMS) as reads:
            before = timers()
            assert await asyncio.gather(*reads) == [HEARTBEAT] * STREAMS
            return timers() - before

    # Ticks, and none for each stream; how many pass until the last is woken is the machine's.
    assert run(timers_of_the_ticks()) < STREAMS / 4


@pytest.mark.options(SAFETY_INTERVAL=0.05)
def test_idle_streams_ask_the_log_as_often_as_one_does(log: WatchedLog) -> None:

    async def safety_polls_and_queries(streams: int) -> tuple[int, int]:
        async with idle(streams):
            polls, queries = log.orphan_queries, log.queries
            await eventually(lambda: log.orphan_queries >= polls + 5)
            return log.orphan_queries - polls, log.queries - queries

    for streams in (1, STREAMS):
        polls, queries = run(safety_polls_and_queries(streams))
        # One for orphans and one for the heads; the last poll or the one before may be half done.
        assert abs(queries - 2 * polls) <= 1
    assert log.reads == []


@pytest.mark.options(THREAD_IDLE=0.02)
def test_idle_streams_hold_no_thread() -> None:

    before = set(threading.enumerate())

    def threads() -> list[threading.Thread]:
        started = set(threading.enumerate()) - before
        return [each for each in started if each.name.startswith("django_sse")]

    async def threads_end_and_events_come() -> None:
        async with idle(STREAMS) as reads:
            for thread in threads():
                await asyncio.to_thread(thread.join, TIMEOUT)
            assert threads() == []
            commit("a", "still here")
            assert all(b"still here" in chunk for chunk in await asyncio.gather(*reads))

    run(threads_end_and_events_come())


def test_idle_streams_get_the_next_event_as_the_same_bytes() -> None:
    async def different_chunks() -> int:
        async with idle(STREAMS) as reads:
            commit("a", "one")
            return len({id(chunk) for chunk in await asyncio.gather(*reads)})

    assert run(different_chunks()) == 1


def test_an_idle_stream_costs_little_memory() -> None:
    async def bytes_of_a_stream() -> float:
        async with idle(1):
            tracemalloc.start()
            async with idle(STREAMS):
                size, _ = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                return size / STREAMS

    assert run(bytes_of_a_stream()) < 8192
