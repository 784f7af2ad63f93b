"""Targets are judged by the medians of one run."""

from __future__ import annotations

import pytest

from benchmarks.targets import TARGETS, Target
from tests.integration.benchmarks.support import make_run


def found(what: str) -> tuple[Target, float | None]:
    target = next(target for target in TARGETS if what in target.what)
    return target, target.value(make_run())


def test_a_ratio_is_that_of_the_medians():
    target, value = found("Closed loop, to nchan")
    assert value == 2
    assert target.is_met(2)
    assert not target.is_met(1.1)


def test_of_a_latency_less_is_better():
    target, value = found("Median latency")
    assert value == 1.25
    assert target.is_met(1.25)
    assert not target.is_met(1.6)


@pytest.mark.parametrize(
    ("where", "difference", "met"), [("the same process", 2.5, True), ("another", 7, False)]
)
def test_the_log_is_judged_by_what_it_adds(where: str, difference: float, met: bool):
    target, value = found(f"SQLite, published by {where}")
    assert value == difference
    assert target.is_met(difference) is met


@pytest.mark.parametrize(("what", "value"), [("the price", 1.9), ("99 % of the delays", 30)])
def test_of_runs_the_median_of_the_rounds_counts(what: str, value: float):
    target = next(each for each in TARGETS if "SQLite" in each.what and what in each.what)
    assert target.value(make_run()) == value
    assert target.is_met(value)
    assert not target.is_met(2 * value)


def test_what_was_not_measured_has_no_value():
    assert found("django-eventstream")[1] is None
    assert found("Replay")[1] is None


def test_each_target_has_a_name_of_its_own():
    assert len({target.what for target in TARGETS}) == len(TARGETS)
