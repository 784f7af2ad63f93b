from __future__ import annotations

import asyncio

import pytest

from django_sse.streams.throttle import Throttle
from tests.unit.hub.support import eventually

LONG = 3600.0


class Action:
    """Counts, and tells the throttle that it has been carried out unless the test does."""

    def __init__(self, pause: float, *, at_once: bool = True) -> None:
        self.loop = asyncio.get_running_loop()
        self.throttle = Throttle(self.loop, pause, self)
        self.times: list[float] = []
        self._at_once = at_once

    def __call__(self) -> None:
        self.times.append(self.loop.time())
        if self._at_once:
            self.throttle.acted()


async def test_after_a_quiet_moment_it_acts_at_once() -> None:
    action = Action(LONG)
    action.throttle.ask()
    assert len(action.times) == 1
    assert action.throttle.timer is None


async def test_what_is_asked_within_the_pause_is_one_action_after_it() -> None:
    action = Action(0.02)
    for _ in range(10):
        action.throttle.ask()
    assert len(action.times) == 1
    assert action.throttle.timer is not None
    await eventually(lambda: len(action.times) == 2)
    assert action.times[1] - action.times[0] >= 0.02
    assert action.throttle.timer is None
    # Nothing more was asked for: no third action is due.
    await asyncio.sleep(0.04)
    assert len(action.times) == 2


async def test_as_long_as_the_pause_lasts_it_does_not_act_again() -> None:
    action = Action(LONG)
    action.throttle.ask()
    action.throttle.ask()
    await asyncio.sleep(0.02)
    assert (len(action.times), action.throttle.timer is None) == (1, False)


async def test_a_pause_that_is_over_is_not_waited_for() -> None:
    action = Action(0.005)
    action.throttle.ask()
    await asyncio.sleep(0.01)
    action.throttle.ask()
    assert len(action.times) == 2


async def test_the_pause_counts_from_when_the_action_was_carried_out() -> None:
    action = Action(LONG, at_once=False)
    for _ in range(3):
        action.throttle.ask()
    # What was asked for has not been done yet, so nothing was in vain.
    assert (len(action.times), action.throttle.timer is None) == (3, True)
    action.throttle.acted()
    assert action.throttle.acted_at >= action.times[-1]
    action.throttle.ask()
    assert (len(action.times), action.throttle.timer is None) == (3, False)


async def test_it_can_be_hurried_and_the_waiting_action_is_not_repeated() -> None:
    action = Action(0.02)
    action.throttle.ask()
    action.throttle.ask()
    action.throttle.hurry()
    assert (len(action.times), action.throttle.timer is None) == (2, True)
    await asyncio.sleep(0.04)
    assert len(action.times) == 2


async def test_hurried_with_nothing_asked_for_it_acts_all_the_same() -> None:
    action = Action(LONG)
    action.throttle.ask()
    action.throttle.hurry()
    assert (len(action.times), action.throttle.timer is None) == (2, True)


@pytest.mark.parametrize("pause", [0.0, -1.0])
async def test_without_a_pause_it_never_waits(pause: float) -> None:
    action = Action(pause)
    for _ in range(5):
        action.throttle.ask()
    assert len(action.times) == 5
