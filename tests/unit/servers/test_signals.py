"""How the signals that stop a server drain its streams, and reach its own handlers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from signal import SIGINT, SIGTERM, SIGUSR1
from typing import Any

import pytest

from django_sse.process import stopping
from django_sse.servers import signals
from django_sse.servers.base import Server
from tests.unit.hub.support import eventually

TIMEOUT = 60.0


class Streams:
    """Some streams on ``loop``."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self.drained = 0

    def drain(self) -> None:
        self.drained += 1

    def busy(self) -> bool:
        return not self.drained

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        return [] if self._loop is None else [self._loop]


class Interrupted(Streams):
    """In its first ``drain`` SIGTERM arrives: a parent tells its worker right after a terminal's
    Ctrl-C did."""

    def drain(self) -> None:
        super().drain()
        if self.drained == 1:
            signal.raise_signal(SIGTERM)


class Run:
    """Goes on until it is interrupted."""

    seconds = TIMEOUT

    def __init__(self) -> None:
        self.ended = threading.Event()

    def busy(self) -> bool:
        return not self.ended.is_set()

    def interrupt(self) -> None:
        self.ended.set()


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module, name, value in [
        (stopping, "_services", []),
        (stopping, "_work", []),
        (signals, "_lifespan", False),
        (signals, "_worker", None),
    ]:
        monkeypatch.setattr(module, name, value)
    handlers = {number: signal.getsignal(number) for number in (SIGINT, SIGTERM, SIGUSR1)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def told() -> list[int]:
    """The signals that the server's own handler has got."""
    got: list[int] = []
    signal.signal(SIGTERM, lambda number, frame: got.append(number))
    return got


def test_streams_are_drained_and_the_server_is_told_at_once(told: list[int]) -> None:
    streams = Streams()
    stopping.register(streams)
    signals.watch()
    signal.raise_signal(SIGTERM)
    assert streams.drained
    assert told == [SIGTERM]


def test_watching_again_changes_nothing(told: list[int]) -> None:
    for _ in range(3):
        signals.watch()
    signal.raise_signal(SIGTERM)
    assert told == [SIGTERM]


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler])
def test_a_process_that_would_end_at_once_or_not_at_all_does_so(handler: Any) -> None:
    signal.signal(SIGTERM, handler)
    signals.watch()
    assert signal.getsignal(SIGTERM) is handler


def test_in_another_thread_no_handler_is_installed(told: list[int]) -> None:
    before = signal.getsignal(SIGTERM)
    thread = threading.Thread(target=signals.watch)
    thread.start()
    thread.join(TIMEOUT)
    assert signal.getsignal(SIGTERM) is before


async def test_the_server_is_told_when_the_work_has_ended(told: list[int]) -> None:
    run = Run()
    stopping.register(Streams(asyncio.get_running_loop()))
    stopping.let_finish(run)
    signals.watch()
    # systemd and the server itself may both send it.
    for _ in range(2):
        signal.raise_signal(SIGTERM)
    await asyncio.sleep(0.05)
    assert told == []
    run.ended.set()
    await eventually(lambda: told == [SIGTERM])


async def test_a_later_second_signal_interrupts_the_work(
    told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_SAME_SIGNAL", -1.0)
    run = Run()
    stopping.register(Streams(asyncio.get_running_loop()))
    stopping.let_finish(run)
    signals.watch()
    signal.raise_signal(SIGTERM)
    assert run.busy()
    signal.raise_signal(SIGTERM)
    assert not run.busy()
    # The last frame of what was interrupted is sent before the server is told.
    assert told == []
    signal.raise_signal(SIGTERM)
    assert told == [SIGTERM]


def test_a_server_that_waits_by_the_lifespan_protocol_is_told_at_once(told: list[int]) -> None:
    stopping.let_finish(Run())
    signals.serves_lifespan()
    signals.watch()
    signal.raise_signal(SIGTERM)
    assert told == [SIGTERM]


@pytest.mark.parametrize("stops", [False, True])
async def test_a_server_without_a_signal_is_asked(stops: bool) -> None:
    class Worker(Server):
        def stops(self) -> bool:
            return stops

    streams = Streams()
    stopping.register(streams)
    signals.watch(Worker())
    signals.look()
    assert bool(streams.drained) is stops


async def test_a_worker_that_another_process_tells_drains_and_stops_by_itself() -> None:
    terminated, stopped = asyncio.Event(), asyncio.Event()

    class Worker(Server):
        told = staticmethod(terminated.wait)

        @staticmethod
        async def stop() -> None:
            stopped.set()

    streams = Streams()
    stopping.register(streams)
    signal.signal(SIGTERM, signal.SIG_DFL)
    signals.watch(Worker())
    signal.raise_signal(SIGTERM)
    async with asyncio.timeout(TIMEOUT):
        await stopped.wait()
    before = streams.drained
    terminated.set()
    await eventually(lambda: streams.drained > before)


def uvloops() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


async def what_a_loop_reports() -> list[int]:
    loop = asyncio.get_running_loop()
    stopping.register(Interrupted(loop))
    reported: list[int] = []
    told, all_read = asyncio.Event(), asyncio.Event()

    def report(number: int) -> None:
        reported.append(number)
        if {SIGINT, SIGTERM} <= set(reported):
            told.set()

    for number in (SIGINT, SIGTERM):
        loop.add_signal_handler(number, report, number)
    loop.add_signal_handler(SIGUSR1, all_read.set)
    signals.watch()

    # From a thread, once the loop sleeps: the handlers then run while the loop reads the signal.
    asleep = threading.Event()

    def interrupt() -> None:
        asleep.wait()
        os.kill(os.getpid(), SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    loop.call_soon(asleep.set)
    await told.wait()
    thread.join()
    # Read after all that came before it.
    signal.raise_signal(SIGUSR1)
    await all_read.wait()
    return reported


@pytest.mark.parametrize(
    "new_loop",
    [
        pytest.param(asyncio.new_event_loop, id="asyncio"),
        pytest.param(uvloops, id="uvloop", marks=pytest.mark.needs("uvloop")),
    ],
)
def test_a_loop_reports_each_signal_once_though_one_interrupts_another(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with closing(new_loop()) as loop:
        reported = loop.run_until_complete(what_a_loop_reports())
    assert sorted(reported) == [SIGINT, SIGTERM]


def test_a_server_is_told_of_signals_in_the_order_in_which_they_arrive(told: list[int]) -> None:
    signal.signal(SIGINT, signal.getsignal(SIGTERM))
    stopping.register(Interrupted())
    signals.watch()
    signal.raise_signal(SIGINT)
    assert told == [SIGINT, SIGTERM]


def test_the_main_thread_is_signalled_from_another_with_and_without_pthread_kill(
    told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (1, 2):
        thread = threading.Thread(target=signals._signal_main_thread, args=(SIGTERM,))
        thread.start()
        thread.join(TIMEOUT)
        assert told == [SIGTERM] * count
        # As on Windows.
        monkeypatch.delattr(signal, "pthread_kill", raising=False)
