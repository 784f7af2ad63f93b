"""This tree against another commit: user CPU and memory of the same workloads, in pairs.

    python -m benchmarks.pairs COMMIT [--pairs 11] [--only text,fanout]

Each round runs every workload (``benchmarks.workloads``) three times in fresh processes: with the
commit, with this tree, and with the commit again. The ratio of the last to the first is what the
machine does to two equal trees; read the ratio of this tree beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.workloads import WORKLOADS

ROOT: Final = Path(__file__).resolve().parent.parent
SCRIPT: Final = ROOT / "benchmarks" / "workloads.py"
TIMEOUT_SECONDS: Final = 300.0


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A temporary work tree of ``commit``."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def measure(tree: Path, workload: str) -> dict[str, float]:
    """The figures of one run of ``workload`` with ``tree``."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), workload],
        cwd=tree,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=TIMEOUT_SECONDS,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


@dataclass
class Ratios:
    """The ratios of one workload, one a pair."""

    user: list[float] = field(default_factory=list)
    equal: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)

    def add(self, before: dict[str, float], now: dict[str, float], again: dict[str, float]) -> None:
        """Add a pair. Raises ``SystemExit`` if the trees did different work."""
        if not before["work"] == now["work"] == again["work"]:
            raise SystemExit(f"different work: {before['work']:.0f}, {now['work']:.0f}")
        self.user.append(now["user"] / before["user"])
        self.equal.append(again["user"] / before["user"])
        self.peak.append(now["peak"] / before["peak"])


def shown(ratios: list[float]) -> str:
    """The median, and the first to the third quartile."""
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a Markdown table, a row for each workload."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pairs")
    parser.add_argument("commit", help="what this tree is compared with")
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--only", default=",".join(WORKLOADS), help="of: %(default)s")
    options = parser.parse_args(arguments)
    workloads = options.only.split(",")
    if unknown := set(workloads) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    ratios = {workload: Ratios() for workload in workloads}
    with checked_out(options.commit) as before:
        for _ in range(options.pairs):
            for workload in workloads:
                three = [measure(tree, workload) for tree in (before, ROOT, before)]
                ratios[workload].add(*three)
    print("| workload | user CPU | two equal trees | peak memory |")
    print("|---|--:|--:|--:|")
    for workload, found in ratios.items():
        print(f"| {workload} | {shown(found.user)} | {shown(found.equal)} | {shown(found.peak)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
