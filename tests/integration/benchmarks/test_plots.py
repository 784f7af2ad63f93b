"""Plots are SVG that says what was measured."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks import plots
from benchmarks.results import Figure
from tests.integration.benchmarks.support import make_run

NAMESPACE = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def texts(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in parsed(svg).iter(f"{NAMESPACE}text")]


def test_each_measure_that_was_taken_is_drawn():
    drawn = {plot.name: plot for plot in plots.of(make_run(), {"nchan": "nchan & nginx"})}
    assert "fanout" in drawn
    assert not {"idle", "channels"} & set(drawn)
    assert "nchan & nginx" in texts(drawn["fanout"].svg)


def test_a_larger_value_stands_further_to_the_right():
    rows = [
        plots.Row("small", False, (Figure((10.0,)),)),
        plots.Row("large", True, (Figure((900.0, 1000.0, 1100.0)),)),
    ]
    root = parsed(plots.dots("title", ["series"], rows))
    # The first circle is the legend's.
    small, large = [float(c.get("cx", 0)) for c in root.iter(f"{NAMESPACE}circle")][1:]
    assert small < large
    spread = [each for each in root.iter(f"{NAMESPACE}line") if each.get("class") == "first"]
    assert float(spread[0].get("x1", 0)) < large < float(spread[0].get("x2", 0))


def test_nothing_at_all_can_be_drawn():
    row = plots.Row("free", True, (Figure((0.0,)), None))
    parsed(plots.dots("title", ["series", "other"], [row]))


def test_lines_join_the_sizes_in_order():
    root = parsed(plots.lines("title", "clients", {"a": {1000: 5.0, 10: 50.0}}))
    points = next(root.iter(f"{NAMESPACE}polyline")).get("points", "").split()
    (x1, y1), (x2, y2) = (tuple(map(float, point.split(","))) for point in points)
    assert x1 < x2
    assert y1 < y2, "SVG counts from the top"


def test_numbers_on_the_axis_are_short():
    assert [plots.short(value) for value in (0.1, 10, 1000, 2.5e6)] == ["0.1", "10", "1k", "2.5M"]


@pytest.mark.parametrize(
    ("largest", "ticks"), [(66.6, [0, 20, 40, 60, 80]), (12.0, [0, 2, 4, 6, 8, 10, 12])]
)
def test_a_linear_scale_begins_at_nothing_and_holds_the_largest(largest: float, ticks: list[float]):
    scale = plots.Linear([3.0, largest], 100, 200)
    assert list(scale.ticks()) == ticks
    assert (scale(0), scale(ticks[-1])) == (100, 200)
    assert scale(largest) <= 200
