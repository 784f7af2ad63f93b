"""What the project wants of its own figures, as ratios of one run, and whether they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.results import Run

OURS: Final = "ours-uvicorn"


@dataclass(frozen=True, slots=True)
class Target:
    """``value`` is None where a run has not measured what it takes."""

    what: str
    value: Callable[[Run], float | None]
    bound: float
    at_least: bool = True
    unit: str = "times"

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    @property
    def wanted(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g} {self.unit}"


def _ratio(measure: str, name: str, peer: str, other: str) -> Callable[[Run], float | None]:
    """``peer``'s median to ``other``'s."""

    def value(run: Run) -> float | None:
        figure, base = run.figure(measure, peer, name), run.figure(measure, other, name)
        return figure.median / base.median if figure and base and base.median else None

    return value


def _difference(peer: str, name: str) -> Callable[[Run], float | None]:
    """Milliseconds of median latency above that without the log."""

    def value(run: Run) -> float | None:
        figure = run.median("fanout", peer, name)
        base = run.median("fanout", OURS, "latency_p50")
        return None if figure is None or base is None else figure - base

    return value


def _plain(measure: str, peer: str, name: str) -> Callable[[Run], float | None]:
    return lambda run: run.median(measure, peer, name)


def _fan_out() -> Iterator[Target]:
    wanted = (
        ("closed", "Closed loop", (("nchan", 1.2), ("hand-uvicorn", 5), ("eventstream", 12))),
        ("burst", "Bursts of 16", (("nchan", 4), ("hand-uvicorn", 8), ("c", 0.5))),
    )
    for name, title, peers in wanted:
        for other, bound in peers:
            yield Target(f"{title}, to {NAMES[other]}", _ratio("fanout", name, OURS, other), bound)
    yield Target(
        "Bursts of 16 on daphne, to the hand-written view",
        _ratio("fanout", "burst", "ours-daphne", "hand-daphne"),
        2.5,
    )


NAMES: Final = {
    "nchan": "nchan",
    "hand-uvicorn": "the hand-written view",
    "eventstream": "django-eventstream",
    "c": "the C limit",
}


def _latency() -> Iterator[Target]:
    yield Target(
        "Median latency at 20 a second, to nchan",
        _ratio("fanout", "latency_p50", OURS, "nchan"),
        1.5,
        at_least=False,
    )
    for log, title in (("sqlite", "SQLite"), ("postgres", "PostgreSQL")):
        for name, bound, where in (
            ("latency_p50", 3, "the same process"),
            ("other_process_p50", 6, "another process"),
        ):
            yield Target(
                f"Through the log on {title}, published by {where}: what it adds",
                _difference(f"ours-uvicorn-{log}", name),
                bound,
                at_least=False,
                unit="ms",
            )


def _rest() -> Iterator[Target]:
    yield Target(
        "Memory of an idle client among 10,000",
        _plain("idle", OURS, "kib_10000"),
        13,
        at_least=False,
        unit="KiB",
    )
    yield Target(
        "Threads of an idle client among 10,000",
        _plain("idle", OURS, "threads_10000"),
        0,
        at_least=False,
        unit="threads",
    )
    yield Target(
        "A generator for each client, to the hand-written view",
        _ratio("generate", "tokens", OURS, "hand-uvicorn"),
        1.7,
    )
    for log, title in (("sqlite", "SQLite"), ("postgres", "PostgreSQL")):
        peer = f"ours-uvicorn-{log}"
        yield Target(
            f"Runs through the log on {title}: the price in tokens a second",
            _plain("runs", peer, "price"),
            2,
            at_least=False,
        )
        yield Target(
            f"Runs through the log on {title}, 200 with 50 tokens a second: 99 % of the delays",
            _plain("runs", peer, "run_paced_p99"),
            50,
            at_least=False,
            unit="ms",
        )
    yield Target(
        "Replay of 10,000 events from SQLite, time to nchan's from memory",
        _ratio("replay", "cold", "ours-uvicorn-sqlite", "nchan"),
        1,
        at_least=False,
    )


TARGETS: Final = (*_fan_out(), *_latency(), *_rest())
