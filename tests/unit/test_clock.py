"""A view that yields its own events loads no log."""

from __future__ import annotations

import pytest

from benchmarks.clock_cost import WAYS, measure


@pytest.mark.parametrize("way", WAYS)
def test_a_clock_loads_nothing_that_only_channels_and_runs_need(way: str) -> None:
    rooms = {name.split(".")[1] for name in measure(way) if "." in name}
    assert {"http", "streams", "wire"} <= rooms
    without = {"log", "hub", "notifiers", "runs", "publishing", "group_commit", "checks", "admin"}
    assert rooms.isdisjoint(without)
