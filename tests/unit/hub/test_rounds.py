from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from django_sse.hub.rounds import Rounds
from tests.unit.hub.support import eventually

LONG = 3600.0


class Woken:
    """A waiter that counts, and does what the test says."""

    def __init__(self, action: Callable[[], object] | None = None) -> None:
        self.wakes = 0
        self._action = action

    def wake(self) -> None:
        self.wakes += 1
        if self._action is not None:
            self._action()

    def forget_pages(self) -> None:
        raise AssertionError("no round does this")


def rounds(*waiters: Woken, pause: float = LONG) -> Rounds:
    return Rounds(asyncio.get_running_loop(), waiters, pause)


async def test_after_a_quiet_moment_all_are_woken_at_once() -> None:
    waiters = [Woken() for _ in range(5)]
    rounds(*waiters).wake()
    assert [waiter.wakes for waiter in waiters] == [1] * 5


async def test_wakes_that_follow_at_once_wait_for_the_pause_and_share_a_round() -> None:
    waiter = Woken()
    each = rounds(waiter, pause=0.005)
    for _ in range(10):
        each.wake()
    assert waiter.wakes == 1
    await eventually(lambda: waiter.wakes == 2)
    # Nothing more was told: no third round is due.
    await asyncio.sleep(0.02)
    assert waiter.wakes == 2


async def test_as_long_as_the_pause_lasts_nobody_is_woken_again() -> None:
    waiter = Woken()
    each = rounds(waiter)
    each.wake()
    each.wake()
    await asyncio.sleep(0.02)
    assert waiter.wakes == 1


async def test_a_wake_during_a_round_brings_another_round() -> None:
    told: list[bool] = []

    def once_more() -> None:
        if not told:
            told.append(True)
            each.wake()

    first, second = Woken(once_more), Woken()
    each = rounds(first, second, pause=0.0)
    each.wake()
    await eventually(lambda: (first.wakes, second.wakes) == (2, 2))


async def test_a_long_round_gives_way_to_the_rest_of_the_loop_and_wakes_each_once() -> None:
    loop = asyncio.get_running_loop()

    def busy() -> None:
        until = loop.time() + 0.0005
        while loop.time() < until:
            pass

    waiters = [Woken(busy) for _ in range(100)]
    seen: list[int] = []

    async def other() -> None:
        while True:
            seen.append(sum(waiter.wakes for waiter in waiters))
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await asyncio.sleep(0)
    rounds(*waiters).wake()
    await eventually(lambda: all(waiter.wakes for waiter in waiters))
    task.cancel()
    assert {waiter.wakes for waiter in waiters} == {1}
    # It was seen on its way, more than once.
    assert len({count for count in seen if 0 < count < 100}) > 1


async def test_a_waiter_that_leaves_during_a_round_harms_nobody() -> None:
    present: set[Woken] = set()
    waiters = [Woken(present.clear) for _ in range(5)]
    present.update(waiters)
    each = Rounds(asyncio.get_running_loop(), present, LONG)
    each.wake()
    assert sum(waiter.wakes for waiter in waiters) == 5


async def test_a_waiter_that_fails_keeps_nobody_asleep(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("broken")

    before, broken, after = Woken(), Woken(fail), Woken()
    each = rounds(before, broken, after, pause=0.0)
    each.wake()
    each.wake()
    assert [waiter.wakes for waiter in (before, broken, after)] == [2, 2, 2]
    assert caplog.text.count("could not be woken") == 2
