from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import weakref

import pytest

from django_sse.process.per_loop import PerLoop

TIMEOUT = 60.0


class Thing:
    """Knows its loop, as most do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop


async def get(things: PerLoop[Thing]) -> Thing:
    return things.get()


async def test_a_loop_has_one_and_it_is_made_with_the_loop() -> None:
    things = PerLoop(Thing)
    assert (things.all(), things.running()) == ([], {})
    thing = things.get()
    assert thing.loop is asyncio.get_running_loop()
    assert things.get() is thing
    assert things.all() == [thing]
    assert things.running() == {asyncio.get_running_loop(): thing}


def test_without_a_running_loop_there_is_none() -> None:
    things = PerLoop(Thing)
    with pytest.raises(RuntimeError, match="no running event loop"):
        things.get()
    assert things.all() == []


async def test_each_loop_has_its_own_and_they_do_not_share_with_another_kind() -> None:
    things, others = PerLoop(Thing), PerLoop(Thing)
    here = things.get()
    assert await asyncio.to_thread(asyncio.run, get(things)) is not here
    assert others.get() is not here


def test_a_loop_that_is_open_but_does_not_run_is_counted_and_not_running() -> None:
    things = PerLoop(Thing)
    with asyncio.Runner() as runner:
        thing = runner.run(get(things))
        assert things.all() == [thing]
        assert things.running() == {}
    assert things.all() == []


def test_those_of_closed_loops_are_forgotten() -> None:
    things = PerLoop(Thing)
    alive = [weakref.ref(asyncio.run(get(things))) for _ in range(20)]
    gc.collect()
    # The newest goes when the next one comes.
    assert sum(thing() is not None for thing in alive) <= 1
    asyncio.run(get(things))
    gc.collect()
    assert [thing() for thing in alive] == [None] * 20


async def test_it_can_be_read_from_any_thread() -> None:
    things = PerLoop(Thing)
    thing = things.get()
    loop = asyncio.get_running_loop()
    assert await asyncio.to_thread(things.all) == [thing]
    assert await asyncio.to_thread(things.running) == {loop: thing}


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need it"
)
def test_a_signal_handler_reads_it_in_the_middle_of_anything() -> None:
    seen: list[tuple[int, int]] = []

    def handler(number: int, frame: object) -> None:
        seen.append((len(things.all()), len(things.running())))

    def make(loop: asyncio.AbstractEventLoop) -> Thing:
        # get() holds its lock here.
        signal.raise_signal(signal.SIGUSR1)
        return Thing(loop)

    things = PerLoop(make)
    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        asyncio.run(asyncio.wait_for(get(things), TIMEOUT))
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert seen == [(0, 0)]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_none_of_its_parents() -> None:
    things = PerLoop(Thing)

    def child() -> int:
        if things.all() or things.running():
            return 1
        thing = asyncio.run(get(things))
        return 2 if thing.loop is parents else 0

    with asyncio.Runner() as runner:
        parents = runner.run(get(things)).loop
        # The child gets no lock that the parent holds: here another thread holds it for good.
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with things._lock:
                held.set()
                done.wait(TIMEOUT)

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            assert held.wait(TIMEOUT)
            pid = os.fork()
            if pid == 0:
                code = 3
                try:
                    signal.alarm(int(TIMEOUT))
                    code = child()
                finally:
                    os._exit(code)
            _, status = os.waitpid(pid, 0)
        finally:
            done.set()
            thread.join(TIMEOUT)
        assert os.waitstatus_to_exitcode(status) == 0
        assert [thing.loop for thing in things.all()] == [parents]
