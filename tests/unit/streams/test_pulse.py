from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from contextvars import ContextVar, copy_context
from types import SimpleNamespace
from typing import Any

import pytest

from django_sse.servers import signals
from django_sse.streams import pulse
from django_sse.streams.pulse import Pulse, get_pulse
from django_sse.streams.stream import Stream
from django_sse.wire import HEARTBEAT, Decoder
from tests import options
from tests.unit.hub.support import TIMEOUT, eventually


@pytest.fixture(autouse=True)
def configure(settings: Any, request: pytest.FixtureRequest) -> Iterator[None]:
    for change in options.configure(settings, {"HEARTBEAT": 3600.0}, request):
        change()
        yield


@pytest.fixture(autouse=True)
def not_draining(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "_draining_until", 0.0)


class Silent(Stream):
    """A stream that never has anything to send."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = 0

    async def _start(self) -> None:
        self.attach()

    def _take(self) -> bytes:
        return b""

    def _end(self) -> None:
        self.ended += 1


async def chunk(stream: Stream) -> bytes:
    async with asyncio.timeout(TIMEOUT):
        return await anext(stream)


async def reading(*streams: Stream) -> list[asyncio.Task[bytes]]:
    """The streams' first reads, which have begun and wait."""
    reads = [asyncio.create_task(chunk(stream)) for stream in streams]
    await eventually(lambda: get_pulse().streams >= set(streams))
    await eventually(lambda: all(stream._waiter is not None for stream in streams))
    return reads


def types(body: bytes) -> list[str]:
    return [event.type for event in Decoder().feed(body)]


def others() -> set[asyncio.Task[object]]:
    """The tasks of this loop besides the test's own."""
    current = asyncio.current_task()
    assert current is not None
    return asyncio.all_tasks() - {current}


# -- one a loop


async def test_a_loop_has_one_pulse_and_its_streams_are_registered_once() -> None:
    assert get_pulse() is get_pulse()
    stream = Silent()
    stream.attach()
    stream.attach()
    assert (get_pulse().streams, stream.loop) == ({stream}, asyncio.get_running_loop())
    stream.close()
    assert get_pulse().streams == set()


async def test_the_running_loops_have_their_pulses() -> None:
    loop = asyncio.get_running_loop()
    here = get_pulse()

    async def elsewhere() -> tuple[Pulse, bool]:
        there = get_pulse()
        return there, pulse.running()[asyncio.get_running_loop()] is there

    there, was_running = await asyncio.to_thread(asyncio.run, elsewhere())
    assert there is not here
    assert was_running
    assert pulse.running()[loop] is here
    assert there not in pulse.running().values()


# -- beats


# The second are more than are beaten in one turn of the loop.
@pytest.mark.parametrize("count", [20, 1201])
@pytest.mark.options(HEARTBEAT=0.02)
async def test_silent_streams_get_a_heartbeat(count: int) -> None:
    streams = [Silent() for _ in range(count)]
    chunks = await asyncio.gather(*[anext(stream) for stream in streams])
    assert chunks == [HEARTBEAT] * count
    for stream in streams:
        stream.close()


@pytest.mark.options(HEARTBEAT=0.02)
async def test_a_stream_that_leaves_during_the_beat_disturbs_nobody() -> None:
    streams = [Silent() for _ in range(1201)]
    reads = [asyncio.create_task(chunk(stream)) for stream in streams]
    await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
    for stream in streams[::2]:
        stream.close()
    results = await asyncio.gather(*reads, return_exceptions=True)
    assert results[1::2] == [HEARTBEAT] * 600
    for stream in streams:
        stream.close()


@pytest.mark.options(HEARTBEAT=0.02)
async def test_many_streams_are_not_beaten_in_one_turn_of_the_loop() -> None:
    turn = 0
    beaten_in: list[int] = []

    class Beaten(Silent):
        def beat(self) -> None:
            beaten_in.append(turn)

    streams = [Beaten() for _ in range(1201)]
    for stream in streams:
        stream.attach()
    async with asyncio.timeout(TIMEOUT):
        while len(beaten_in) < len(streams):
            turn += 1
            await asyncio.sleep(0)
    first = beaten_in[: len(streams)]
    assert max(first.count(each) for each in set(first)) <= 500
    for stream in streams:
        stream.close()


class Broken(Silent):
    """A stream whose first beat fails."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = False

    def beat(self) -> None:
        if not self.failed:
            self.failed = True
            raise ValueError("no pulse")
        super().beat()


@pytest.mark.options(HEARTBEAT=0.02)
async def test_a_beat_that_fails_is_logged_and_the_pulse_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = Broken()
    assert await chunk(stream) == HEARTBEAT
    assert "The task _beat died" in caplog.text
    assert "no pulse" in caplog.text
    stream.close()


@pytest.mark.options(HEARTBEAT=0.02)
async def test_at_every_beat_the_server_is_asked_whether_it_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[asyncio.AbstractEventLoop] = []
    monkeypatch.setattr(signals, "look", lambda: calls.append(asyncio.get_running_loop()))
    stream = Silent()
    stream.attach()
    await eventually(lambda: len(calls) >= 3)
    assert set(calls) == {asyncio.get_running_loop()}
    stream.close()


class Attendant:
    """Wants so many beats."""

    def __init__(self, wants: int) -> None:
        self.wants = wants
        self.beats = 0

    def beat(self) -> bool:
        self.beats += 1
        return self.beats < self.wants


@pytest.mark.options(HEARTBEAT=0.02)
async def test_an_attendant_is_beaten_until_it_wants_no_more() -> None:
    one, three = Attendant(1), Attendant(3)
    for each in (one, three, three):
        get_pulse().attend(each)
    async with asyncio.timeout(TIMEOUT):
        await asyncio.wait(others())
    assert (one.beats, three.beats) == (1, 3)


@pytest.mark.options(HEARTBEAT=0.02)
async def test_without_streams_and_attendants_nothing_runs_and_the_next_starts_it_again() -> None:
    for _ in range(2):
        stream = Silent()
        assert await chunk(stream) == HEARTBEAT
        (beating,) = others()
        stream.close()
        async with asyncio.timeout(TIMEOUT):
            await asyncio.wait({beating})
        assert others() == set()


async def test_the_pulse_keeps_nothing_of_the_request_that_started_it() -> None:
    class Request:
        """What a context variable holds on to."""

    variable: ContextVar[Request] = ContextVar("variable")
    stream = Silent()

    async def begin() -> weakref.ref[Request]:
        request = Request()
        variable.set(request)
        stream.attach()
        return weakref.ref(request)

    task = asyncio.get_running_loop().create_task(begin(), context=copy_context())
    alive = await task
    del task
    await asyncio.sleep(0)
    assert others()
    assert alive() is None
    stream.close()


# -- when the server stops


async def test_draining_ends_every_stream() -> None:
    streams = [Silent() for _ in range(3)]
    reads = await reading(*streams)
    await asyncio.to_thread(get_pulse().drain)
    for read in reads:
        assert types(await read) == ["stream-retry"]
    assert get_pulse().streams == set()
    assert [stream.ended for stream in streams] == [1, 1, 1]


async def test_draining_one_loop_leaves_the_process_to_go_on() -> None:
    get_pulse().drain()
    assert not pulse.is_draining()


@pytest.fixture
def other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def test_the_process_drains_the_streams_of_all_loops(
    other_loop: asyncio.AbstractEventLoop,
) -> None:
    streams = [Silent(), Silent()]
    begun = asyncio.Event()
    here = asyncio.get_running_loop()

    async def elsewhere() -> bytes:
        (read,) = await reading(streams[1])
        here.call_soon_threadsafe(begun.set)
        return await read

    there = asyncio.create_task(asyncio.to_thread(other_loop.run_until_complete, elsewhere()))
    (read,) = await reading(streams[0])
    await begun.wait()
    assert not pulse.is_draining()
    await asyncio.to_thread(pulse.drain)
    assert pulse.is_draining()
    assert types(await read) == types(await there) == ["stream-retry"]
    assert [stream.ended for stream in streams] == [1, 1]


async def test_while_the_process_drains_a_new_stream_ends_at_once() -> None:
    pulse.drain()
    stream = Silent()
    assert types(await chunk(stream)) == ["stream-retry"]
    with pytest.raises(StopAsyncIteration):
        await chunk(stream)
    assert (stream.ended, get_pulse().streams) == (1, set())


def test_after_a_minute_new_streams_live_again(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1000.0, 1000.0, 1000.0, 1059.9, 1060.1])
    monkeypatch.setattr(pulse, "time", SimpleNamespace(monotonic=lambda: next(times)))
    assert not pulse.is_draining()
    pulse.drain()
    assert [pulse.is_draining() for _ in range(3)] == [True, True, False]


async def test_the_pulse_of_a_closed_loop_drains_in_silence() -> None:
    async def use() -> Pulse:
        return get_pulse()

    (await asyncio.to_thread(asyncio.run, use())).drain()
    pulse.drain()
