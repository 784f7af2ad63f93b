from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async

from django_sse.streams.driver import Driver
from django_sse.streams.handle import Handle, take_stream
from django_sse.streams.state import State
from django_sse.streams.stream import Stream
from django_sse.wire import HEARTBEAT, Decoder
from tests.unit.hub.pipe import Pipe
from tests.unit.hub.support import TIMEOUT, eventually

END = None


async def read(stream: Stream) -> bytes:
    async with asyncio.timeout(TIMEOUT):
        return await anext(stream)


def reading(stream: Stream) -> asyncio.Task[bytes]:
    """A read on its way."""

    async def next_chunk() -> bytes:
        return await anext(stream)

    return asyncio.create_task(next_chunk())


async def waiting(stream: Stream) -> asyncio.Task[bytes]:
    """A read that has found nothing and waits."""
    task = reading(stream)
    await eventually(lambda: stream._waiter is not None)
    return task


async def assert_ended(stream: Stream) -> None:
    with pytest.raises(StopAsyncIteration):
        await read(stream)


# -- the body


async def test_it_gives_what_it_takes_and_ends() -> None:
    stream = Pipe(b"one", b"two", END)
    assert [chunk async for chunk in stream] == [b"one", b"two"]
    assert (stream.starts, stream.ends, stream.streams.open) == (1, 1, [])
    await assert_ended(stream)
    assert stream.ends == 1


async def test_it_starts_with_the_first_read_and_not_before() -> None:
    stream = Pipe(b"one")
    assert aiter(stream) is stream
    assert (stream.starts, stream.streams.registered) == (0, 0)
    assert await read(stream) == b"one"
    assert (stream.starts, stream.streams.open) == (1, [stream])


async def test_a_stream_with_nothing_to_send_waits_until_it_is_woken() -> None:
    stream = Pipe()
    task = await waiting(stream)
    stream.wake()
    await asyncio.sleep(0)
    assert not task.done()
    stream.put(b"one")
    assert await task == b"one"


async def test_wakes_while_nobody_waits_are_harmless() -> None:
    stream = Pipe(b"one")
    stream.wake()
    await read(stream)
    stream.wake()
    task = await waiting(stream)
    stream.put(b"two")
    stream.wake()
    assert await task == b"two"


async def test_a_source_that_is_always_ready_leaves_the_loop_to_others() -> None:
    stream = Pipe(*[b"chunk"] * 100)
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(100):
        await anext(stream)
    task.cancel()
    assert others >= 100


async def test_an_error_ends_the_stream_and_is_raised() -> None:
    stream = Pipe(error=ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await read(stream)
    assert (stream.ends, stream.streams.open) == (1, [])
    await assert_ended(stream)


async def test_a_client_that_leaves_ends_the_stream() -> None:
    stream = Pipe()
    task = await waiting(stream)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (stream.ends, stream.streams.open) == (1, [])


async def test_the_thread_of_the_request_is_released_before_the_first_chunk() -> None:
    async with ThreadSensitiveContext():
        thread = await sync_to_async(threading.current_thread)()
        stream = Pipe(b"one")
        await read(stream)
        await asyncio.to_thread(thread.join, TIMEOUT)
        assert not thread.is_alive()
        stream.close()


# -- close


async def test_closing_twice_ends_it_once() -> None:
    stream = Pipe(b"one")
    await read(stream)
    stream.close()
    stream.close()
    await stream.aclose()
    assert (stream.ends, stream.streams.open) == (1, [])
    await assert_ended(stream)


async def test_closing_ends_a_read_that_waits() -> None:
    stream = Pipe()
    task = await waiting(stream)
    stream.close()
    with pytest.raises(StopAsyncIteration):
        await task


async def test_a_stream_that_never_started_can_be_closed() -> None:
    stream = Pipe(b"one")
    stream.close()
    assert (stream.starts, stream.ends) == (0, 1)
    await assert_ended(stream)
    assert stream.starts == 0


class SlowStart(Pipe):
    """Takes what it needs at the end of a start that lasts until it is let go."""

    def __init__(self) -> None:
        super().__init__(b"one")
        self.starting = asyncio.Event()
        self.go_on = asyncio.Event()
        self.taken = False

    async def _start(self) -> None:
        await super()._start()
        self.starting.set()
        await self.go_on.wait()
        self.taken = True

    def _end(self) -> None:
        super()._end()
        self.taken = False


async def test_closed_during_its_start_it_lets_go_of_what_the_start_takes() -> None:
    stream = SlowStart()
    task = reading(stream)
    await stream.starting.wait()
    stream.close()
    stream.go_on.set()
    with pytest.raises(StopAsyncIteration):
        await task
    assert (stream.taken, stream.streams.open) == (False, [])


async def test_aclosing_ends_it_when_the_reader_stops_early() -> None:
    async with aclosing(Pipe(b"one", b"two")) as stream:
        async for chunk in stream:
            assert chunk == b"one"
            break
    assert stream.ends == 1


async def test_closed_from_another_thread_it_ends_on_its_loop() -> None:
    stream = Pipe()
    task = await waiting(stream)
    await asyncio.to_thread(stream.close)
    with pytest.raises(StopAsyncIteration):
        await task
    assert (stream.ends, stream.ended_in) == (1, threading.current_thread())


async def test_closed_from_many_threads_at_once_it_ends_once() -> None:
    stream = Pipe()
    task = await waiting(stream)
    await asyncio.gather(*[asyncio.to_thread(stream.close) for _ in range(8)])
    with pytest.raises(StopAsyncIteration):
        await task
    assert stream.ends == 1


def test_a_stream_whose_loop_is_gone_can_be_closed() -> None:
    stream = Pipe(b"one")
    asyncio.run(read(stream))
    stream.close()
    assert stream.ends == 1


async def test_a_closed_stream_is_not_kept_in_memory() -> None:
    stream = Pipe(b"one")
    await read(stream)
    stream.close()
    alive = weakref.ref(stream)
    del stream
    gc.collect()
    assert alive() is None


# -- heartbeats


async def test_a_stream_that_was_silent_for_two_ticks_sends_a_heartbeat() -> None:
    stream = Pipe()
    task = await waiting(stream)
    stream.beat()
    await asyncio.sleep(0)
    assert not task.done()
    stream.beat()
    assert await task == HEARTBEAT


async def test_a_silent_stream_sends_one_heartbeat_for_two_ticks() -> None:
    stream = Pipe()
    heartbeats = 0
    task = await waiting(stream)
    for _ in range(20):
        stream.beat()
        await asyncio.sleep(0)
        if task.done():
            assert task.result() == HEARTBEAT
            heartbeats += 1
        if task.done():
            task = await waiting(stream)
    task.cancel()
    assert heartbeats == 10


async def test_a_stream_that_sends_between_the_ticks_sends_no_heartbeat() -> None:
    stream = Pipe()
    for number in range(10):
        task = await waiting(stream)
        stream.beat()
        stream.put(b"%d" % number)
        assert await task == b"%d" % number
    assert len(stream.chunks) == 0


async def test_a_stream_whose_client_does_not_read_gets_no_heartbeat() -> None:
    stream = Pipe(b"one")
    await read(stream)
    for _ in range(4):
        stream.beat()
    stream.chunks.append(b"two")
    assert await read(stream) == b"two"


async def test_a_heartbeat_that_meets_an_event_loses_nothing() -> None:
    stream = Pipe()
    task = await waiting(stream)
    stream.beat()
    stream.put(b"event")
    stream.beat()
    chunk = await task
    if chunk == HEARTBEAT:
        chunk = await read(stream)
    assert chunk == b"event"


# -- the end of the server


async def test_a_drained_stream_says_when_to_come_back_and_ends(settings: Any) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"RETRY": 1000, "RETRY_JITTER": 500}}
    stream = Pipe()
    task = await waiting(stream)
    stream.drain()
    decoder = Decoder()
    (event,) = decoder.feed(await task)
    assert event.type == "stream-retry"
    assert decoder.reconnection_time is not None
    assert 1000 <= decoder.reconnection_time <= 1500
    assert stream.ends == 1
    await assert_ended(stream)


async def test_a_stream_that_is_drained_between_two_reads_sends_no_more_events() -> None:
    stream = Pipe(b"one", b"two")
    await read(stream)
    stream.drain()
    assert b"stream-retry" in await read(stream)
    await assert_ended(stream)


async def test_a_stream_that_is_drained_twice_sends_one_last_frame() -> None:
    stream = Pipe()
    task = await waiting(stream)
    stream.drain()
    stream.drain()
    assert b"stream-retry" in await task
    stream.drain()
    await assert_ended(stream)
    assert stream.ends == 1


async def test_a_stream_that_is_drained_before_its_first_read_starts_and_ends() -> None:
    stream = Pipe(b"one")
    stream.drain()
    assert b"stream-retry" in await read(stream)
    await assert_ended(stream)
    assert (stream.ends, stream.streams.open) == (1, [])


# -- parking: for those who can send without waiting


class Sender(Driver):
    """Sends at once what a parked stream has."""

    pushes = True

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.told = 0
        self.sent: list[bytes | None] = []
        stream.driver = self

    def ready(self) -> None:
        self.told += 1
        while chunk := self.stream.poll():
            self.sent.append(chunk)
        if chunk is None:
            self.sent.append(None)


async def parked(*chunks: bytes) -> tuple[Pipe, Sender]:
    """A stream that has given its chunks and is parked."""
    stream = Pipe(*chunks)
    sender = Sender(stream)
    for chunk in chunks:
        assert await read(stream) == chunk
    assert await read(stream) == b""
    return stream, sender


async def test_a_stream_with_nothing_to_send_parks_instead_of_waiting() -> None:
    stream, sender = await parked(b"one")
    assert (sender.told, stream.sending_since) == (0, None)
    stream.put(b"two")
    stream.put(b"three")
    assert (sender.told, sender.sent) == (2, [b"two", b"three"])


async def test_a_parked_stream_that_is_taken_up_again_tells_nothing_until_it_parks_again() -> None:
    stream, sender = await parked()
    stream.resume()
    stream.put(b"one")
    assert sender.told == 0
    assert await read(stream) == b"one"
    assert await read(stream) == b""
    stream.put(b"two")
    assert sender.sent == [b"two"]


async def test_a_parked_stream_does_not_know_its_end_by_itself() -> None:
    stream, sender = await parked()
    stream.put(END)
    assert sender.sent == [None]


async def test_a_parked_stream_beats() -> None:
    stream, sender = await parked()
    stream.beat()
    assert sender.sent == []
    stream.beat()
    assert sender.sent == [HEARTBEAT]


async def test_a_parked_stream_that_sends_between_the_ticks_does_not_beat() -> None:
    stream, sender = await parked()
    for number in range(4):
        stream.beat()
        stream.put(b"%d" % number)
    assert sender.sent == [b"0", b"1", b"2", b"3"]


async def test_a_parked_stream_is_drained_by_whoever_reads_it_next() -> None:
    stream, sender = await parked()
    stream.drain()
    assert sender.sent == [None]
    assert b"stream-retry" in await read(stream)
    await assert_ended(stream)


async def test_a_parked_stream_that_is_closed_says_so_once() -> None:
    stream, sender = await parked()
    stream.close()
    assert (sender.sent, stream.ends) == ([None], 1)
    await assert_ended(stream)


# -- a client that takes nothing


async def test_a_chunk_that_is_not_taken_in_time_closes_the_stream(settings: Any) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"SEND_TIMEOUT": 0.0}}
    stream = Pipe(b"one", b"two")
    stalled: list[State] = []

    class Dropper(Driver):
        def stalled(self) -> None:
            stalled.append(stream.state)

    stream.driver = Dropper()
    await read(stream)
    await asyncio.sleep(0.001)
    stream.beat()
    assert (stalled, stream.ends) == ([State.CLOSED], 1)
    await assert_ended(stream)


async def test_one_that_is_taken_in_time_does_not(settings: Any) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"SEND_TIMEOUT": 3600.0}}
    stream = Pipe(b"one", b"two")
    await read(stream)
    for _ in range(10):
        stream.beat()
    assert await read(stream) == b"two"
    stream.close()


async def test_a_stream_that_waits_for_events_is_no_stalled_client(settings: Any) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"SEND_TIMEOUT": 0.0}}
    stream = Pipe()
    task = await waiting(stream)
    await asyncio.sleep(0.001)
    stream.beat()
    stream.beat()
    assert await task == HEARTBEAT
    stream.close()


# -- what a project holds


async def test_a_handle_iterates_the_stream_and_closes_it() -> None:
    stream = Pipe(b"one", b"two")
    handle = Handle(stream)
    assert take_stream(handle) is stream
    async with aclosing(handle):
        async for chunk in handle:
            assert chunk == b"one"
            break
    assert stream.ends == 1
