"""Plots as SVG, by hand: dots with the spread of their rounds, and lines.

Colours are for light and dark pages alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from benchmarks.results import Figure, Run

WIDTH: Final = 800
LABEL_WIDTH: Final = 335
ROW: Final = 22
TOP: Final = 52
BOTTOM: Final = 34
RIGHT: Final = 24

STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #57606a }
.title { font-size: 14px; font-weight: 600 }
.ours { font-weight: 600 }
.grid { stroke: #8b949e; stroke-opacity: .25 }
.first { fill: #0969da; stroke: #0969da }
.second { fill: none; stroke: #0969da; stroke-width: 2 }
.other.first { fill: #8b949e; stroke: #8b949e }
.other.second { stroke: #8b949e }
.line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #adbac7 } }
"""
LINES: Final = ("#8b949e", "#bf8700", "#1a7f37", "#0969da", "#8250df")


@dataclass(frozen=True, slots=True)
class Plot:
    """``section`` is the title of the part of the report that shows it."""

    name: str
    section: str
    title: str
    svg: str


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    is_ours: bool
    figures: tuple[Figure | None, ...]


class Logarithmic:
    """A logarithmic scale over whole decades."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        positive = [value for value in values if value > 0] or [1.0]
        self.low = math.floor(math.log10(min(positive)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(positive))))
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        exponent = math.log10(value) if value > 0 else self.low
        share = (max(exponent, self.low) - self.low) / (self.high - self.low)
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self) -> Iterator[float]:
        for exponent in range(self.low, self.high + 1):
            yield 10.0**exponent


class Linear:
    """A scale from nothing on."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        top = max(values, default=1.0) or 1.0
        decade = 10.0 ** math.floor(math.log10(top))
        self.step = next(decade * part for part in (0.2, 0.5, 1, 2) if top <= 6 * decade * part)
        self._top = math.ceil(top / self.step) * self.step
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        return round(self._start + value / self._top * (self._end - self._start), 1)

    def ticks(self) -> Iterator[float]:
        for count in range(round(self._top / self.step) + 1):
            yield round(count * self.step, 6)


Scale = Logarithmic | Linear


def short(value: float) -> str:
    """1500000 as 1.5M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _svg(height: float, title: str, parts: Iterable[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">\n<style>{STYLE}</style>\n'
        f'<text class="title" x="8" y="20">{escape(title)}</text>'
    )
    return "\n".join([head, *parts, "</svg>\n"])


def _mark(scale: Scale, figure: Figure, y: float, kind: str) -> Iterator[str]:
    low, high = scale(figure.low), scale(figure.high)
    if high > low:
        yield f'<line class="{kind}" x1="{low}" y1="{y}" x2="{high}" y2="{y}"/>'
    yield f'<circle class="{kind}" cx="{scale(figure.median)}" cy="{y}" r="4.5"/>'


def _grid(scale: Scale, bottom: float) -> Iterator[str]:
    for tick in scale.ticks():
        x = scale(tick)
        yield f'<line class="grid" x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{bottom}"/>'
        yield f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{short(tick)}</text>'


def _legend(names: Sequence[str]) -> Iterator[str]:
    x = float(LABEL_WIDTH)
    for name, kind in zip(names, ("first", "second"), strict=False):
        yield f'<circle class="{kind}" cx="{x}" cy="33" r="4.5"/>'
        yield f'<text x="{x + 10}" y="37">{escape(name)}</text>'
        x += 24 + 7 * len(name)


def dots(
    title: str, names: Sequence[str], rows: Sequence[Row], kind: type[Scale] = Logarithmic
) -> str:
    """A row a peer: the first series as filled dots, the second as rings, with their spread."""
    figures = [figure for row in rows for figure in row.figures if figure]
    edges = [edge for figure in figures for edge in (figure.low, figure.high)]
    scale = kind(edges, LABEL_WIDTH, WIDTH - RIGHT)
    bottom = TOP + ROW * len(rows)
    parts = [*_grid(scale, bottom), *_legend(names)]
    for index, row in enumerate(rows):
        y = TOP + ROW * index + ROW / 2 - 4
        style = "ours" if row.is_ours else ""
        parts.append(
            f'<text class="{style}" x="{LABEL_WIDTH - 12}" y="{y + 4}" text-anchor="end">'
            f"{escape(row.label)}</text>"
        )
        for figure, series in zip(row.figures, ("first", "second"), strict=False):
            if figure:
                parts += _mark(scale, figure, y, series if row.is_ours else f"{series} other")
    return _svg(bottom + BOTTOM, title, parts)


def _polyline(points: Sequence[tuple[float, float]], colour: str) -> Iterator[str]:
    path = " ".join(f"{x},{y}" for x, y in points)
    yield f'<polyline class="line" points="{path}" style="stroke:{colour}"/>'
    for x, y in points:
        yield f'<circle cx="{x}" cy="{y}" r="3.5" style="fill:{colour}"/>'


def lines(title: str, what: str, series: dict[str, dict[int, float]]) -> str:
    """Both scales logarithmic; ``series`` is a name and its values by size."""
    height = 320
    sizes = [size for points in series.values() for size in points]
    across = Logarithmic(sizes, 60, WIDTH - LABEL_WIDTH)
    heights = [value for points in series.values() for value in points.values()]
    up = Logarithmic(heights, height - 50, TOP)
    parts = []
    for tick in across.ticks():
        x = across(tick)
        parts.append(f'<line class="grid" x1="{x}" y1="{TOP}" x2="{x}" y2="{height - 50}"/>')
        parts.append(f'<text x="{x}" y="{height - 32}" text-anchor="middle">{short(tick)}</text>')
    for tick in up.ticks():
        y = up(tick)
        parts.append(f'<line class="grid" x1="60" y1="{y}" x2="{WIDTH - LABEL_WIDTH}" y2="{y}"/>')
        parts.append(f'<text x="52" y="{y + 4}" text-anchor="end">{short(tick)}</text>')
    parts.append(f'<text x="60" y="{height - 12}">{escape(what)}</text>')
    for index, (name, points) in enumerate(series.items()):
        colour = LINES[index % len(LINES)]
        parts += _polyline([(across(size), up(points[size])) for size in sorted(points)], colour)
        y = TOP + 8 + ROW * index
        parts.append(f'<circle cx="{WIDTH - LABEL_WIDTH + 18}" cy="{y}" r="4.5" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - LABEL_WIDTH + 30}" y="{y + 4}">{escape(name)}</text>')
    return _svg(height, title, parts)


def _rows(run: Run, measure: str, labels: dict[str, str], *names: str) -> list[Row]:
    return [
        Row(
            labels.get(peer, peer),
            peer.startswith("ours"),
            tuple(run.figure(measure, peer, name) for name in names),
        )
        for peer in run.peers(measure)
    ]


def _series(run: Run, measure: str, labels: dict[str, str]) -> dict[str, dict[int, float]]:
    """CPU an event by size, of every peer."""
    found: dict[str, dict[int, float]] = {}
    prefix, suffix = f"{measure}_", "_cpu"
    for peer in run.peers(measure):
        for name in run.rounds[measure][peer][0]:
            value = run.median(measure, peer, name)
            if name.startswith(prefix) and name.endswith(suffix) and value:
                size = int(name[len(prefix) : -len(suffix)])
                found.setdefault(labels.get(peer, peer), {})[size] = value
    return found


FAN_OUT: Final = "Fan-out to 1,000 clients"
LATENCY: Final = "Latency at 20 events a second to 1,000 clients"
IDLE: Final = "Idle clients"
GENERATE: Final = "A generator for each client"
CLIENTS: Final = "From 10 to 10,000 clients"
CHANNELS: Final = "From 10 to 10,000 channels"

DOTS: Final = (
    # name, section, title, measure, series with what they are called
    ("fanout", FAN_OUT, "Events delivered a second, to 1,000 clients", "fanout",
     {"closed": "closed loop", "burst": "bursts of 16"}),
    ("latency", LATENCY, "Latency at 20 events a second, milliseconds", "fanout",
     {"latency_p50": "median", "latency_p99": "99 %"}),
    ("idle", IDLE, "Memory of an idle client, KiB", "idle",
     {"kib_10000": "among 10,000", "kib_1000": "among 1,000"}),
    ("generate", GENERATE, "Tokens a second, 200 generators", "generate", {"tokens": "tokens/s"}),
)  # fmt: skip
LINED: Final = (
    ("clients", CLIENTS, "CPU µs an event and client", "clients"),
    ("channels", CHANNELS, "CPU µs an event", "channels"),
)


def of(run: Run, labels: dict[str, str]) -> list[Plot]:
    """The plots of what ``run`` has measured; ``labels`` are the names of the peers."""
    found = []
    for name, section, title, measure, series in DOTS:
        rows = _rows(run, measure, labels, *series)
        if any(any(row.figures) for row in rows):
            kind = Linear if name == "idle" else Logarithmic
            svg = dots(title, list(series.values()), rows, kind)
            found.append(Plot(name, section, title, svg))
    for name, section, title, measure in LINED:
        if points := _series(run, measure, labels):
            found.append(Plot(name, section, title, lines(title, measure, points)))
    return found
