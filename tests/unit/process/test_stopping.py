"""What a process ends when it is told to stop, and how long it waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils.autoreload import file_changed

from django_sse.process import stopping
from django_sse.process.background import BackgroundLoop

TIMEOUT = 60.0


class Streams:
    """Some streams on ``loop``, which end a moment after they are drained."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = loop
        self.open = True
        self.drained = 0

    def drain(self) -> None:
        self.drained += 1
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.open = False

    def busy(self) -> bool:
        return self.open

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        return [] if self.loop is None else [self.loop]


class Run:
    """Goes on until it is interrupted, or has ended by itself."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked = threading.Event()
        self.ended = False
        self.interrupted = 0

    def busy(self) -> bool:
        self.asked.set()
        return not self.ended

    def interrupt(self) -> None:
        self.interrupted += 1
        self.ended = True


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_services", [])
    monkeypatch.setattr(stopping, "_work", [])


@pytest.fixture
def background() -> Iterator[asyncio.AbstractEventLoop]:
    loop = BackgroundLoop().loop
    yield loop
    loop.call_soon_threadsafe(loop.stop)


async def test_streams_are_drained_at_once_and_waited_for() -> None:
    streams = Streams(asyncio.get_running_loop())
    stopping.register(streams)
    async with asyncio.timeout(TIMEOUT):
        await stopping.finish()
    assert streams.drained
    assert not streams.open


async def test_work_that_ends_in_its_seconds_is_not_interrupted_before() -> None:
    run = Run(TIMEOUT)
    stopping.let_finish(run)
    finishing = asyncio.ensure_future(stopping.finish())
    await asyncio.to_thread(run.asked.wait, TIMEOUT)
    assert not finishing.done()
    assert not run.interrupted
    run.ended = True
    async with asyncio.timeout(TIMEOUT):
        await finishing


async def test_work_that_takes_longer_is_interrupted() -> None:
    run = Run(0.02)
    stopping.let_finish(run)
    async with asyncio.timeout(TIMEOUT):
        await stopping.finish()
    assert run.interrupted


async def test_streams_that_begin_while_work_goes_on_are_drained_as_well() -> None:
    streams, run = Streams(asyncio.get_running_loop()), Run(TIMEOUT)
    stopping.let_finish(run)
    finishing = asyncio.ensure_future(stopping.finish())
    await asyncio.to_thread(run.asked.wait, TIMEOUT)
    stopping.register(streams)
    run.ended = True
    async with asyncio.timeout(TIMEOUT):
        await finishing
    assert streams.drained
    assert not streams.open


def test_each_loop_is_told_once(background: asyncio.AbstractEventLoop) -> None:
    for _ in range(2):
        stopping.register(Streams(background))
    assert stopping.loops() == [background]


def test_a_process_that_exits_ends_everything_on_a_loop_of_another_thread(
    background: asyncio.AbstractEventLoop,
) -> None:
    streams, run = Streams(background), Run(TIMEOUT)
    stopping.register(streams)
    stopping.let_finish(run)
    stopping.end()
    assert not streams.open
    assert run.interrupted


def test_a_process_with_nothing_open_exits_at_once() -> None:
    streams = Streams()
    streams.open = False
    stopping.register(streams)
    stopping.end()
    assert not streams.drained


@pytest.mark.parametrize(("name", "ends"), [("views.py", True), ("page.html", False)])
def test_a_reload_ends_everything_when_a_python_file_has_changed(
    name: str, ends: bool, background: asyncio.AbstractEventLoop
) -> None:
    streams = Streams(background)
    stopping.register(streams)
    file_changed.send(sender=None, file_path=Path(name))
    assert streams.open is not ends
