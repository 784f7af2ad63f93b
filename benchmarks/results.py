"""What a run measured: kept as JSON, read by the report."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """A value over its rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


@dataclass(slots=True)
class Run:
    """``rounds``: measure, peer, then the values of each round; ``failures``: what did not work."""

    machine: dict[str, Any]
    rounds: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, measure: str, peer: str, values: dict[str, float]) -> None:
        self.rounds.setdefault(measure, {}).setdefault(peer, []).append(values)

    def peers(self, measure: str) -> list[str]:
        return list(self.rounds.get(measure, {}))

    def figure(self, measure: str, peer: str, name: str) -> Figure | None:
        """None where it was not measured."""
        rounds = self.rounds.get(measure, {}).get(peer, [])
        values = tuple(each[name] for each in rounds if name in each)
        return Figure(values) if values else None

    def median(self, measure: str, peer: str, name: str) -> float | None:
        found = self.figure(measure, peer, name)
        return found.median if found else None

    def total(self, measure: str, peer: str, name: str) -> int:
        """The sum over the rounds of a count."""
        found = self.figure(measure, peer, name)
        return int(sum(found.values)) if found else 0

    def save(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> Run:
        return cls(**json.loads(path.read_text()))
