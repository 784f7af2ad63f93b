"""Mutation tests of rooms: how many mistakes their own tests notice, and which they do not.

    python -m benchmarks.mutants --room wire=django_sse/wire:tests/wire [--room ...]
        [--count 25] [--seed 1] [--list]

A room is a name, its code and its tests; several paths are separated by commas. Of each room
``--count`` mutants are made, one at a time, in a copy of the tree. One of the room's tests has to
fail or hang; those that call the mutant's function are run first.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.mutants.sites import Site, choose
from benchmarks.mutants.trial import SURVIVED, TIMED_OUT, Bench, copied

ROOT: Final = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Room:
    """Some code and the tests that are to hold it."""

    name: str
    code: list[str]
    tests: list[str]

    @classmethod
    def parse(cls, text: str) -> Room:
        """``name=code,code:tests,tests``; raises ``ValueError`` for anything else."""
        name, _, paths = text.partition("=")
        code, _, tests = paths.partition(":")
        if not (name and code and tests):
            raise ValueError(text)
        room = cls(name, code.split(","), tests.split(","))
        missing = [path for path in (*room.code, *room.tests) if not (ROOT / path).exists()]
        if missing:
            raise argparse.ArgumentTypeError(f"there is no {', '.join(missing)}")
        return room

    def mutants(self, count: int, seed: int) -> list[Site]:
        """The mutants that are tried."""
        paths = [ROOT / path for path in self.code]
        files = [file for path in paths for file in (sorted(path.rglob("*.py")) or [path])]
        return choose(files, ROOT, count, seed)


@dataclass(slots=True)
class Tally:
    """How the mutants of one room fared."""

    room: Room
    killed: int = 0
    timed_out: int = 0
    survivors: list[Site] = field(default_factory=list)

    def note(self, site: Site, killer: str) -> None:
        """Count one, and say it."""
        if killer == SURVIVED:
            self.survivors.append(site)
        elif killer == TIMED_OUT:
            self.timed_out += 1
        else:
            self.killed += 1
        print(f"{'SURVIVED' if killer == SURVIVED else 'killed  '} {site.name}", flush=True)
        print(f"         {killer}" if killer else "", end="\n" if killer else "", flush=True)

    def row(self) -> str:
        """A row of the report."""
        caught = self.killed + self.timed_out
        cells = caught + len(self.survivors), caught, self.timed_out, len(self.survivors)
        return f"| {self.room.name} | {' | '.join(map(str, cells))} |"


def try_room(room: Room, count: int, seed: int) -> Tally:
    """Try the mutants of one room."""
    tally = Tally(room)
    with copied(ROOT) as copy:
        bench = Bench(copy, room.tests)
        bench.prepare()
        print(f"\n{room.name}: {len(bench.tests)} tests pass, {bench.seconds:.0f} s", flush=True)
        for name in bench.failing:
            print(f"left out, it fails without a mutant: {name}", flush=True)
        for site in room.mutants(count, seed):
            tally.note(site, bench.kill(site))
    return tally


def report(tallies: Sequence[Tally], seed: int, seconds: float) -> str:
    """A Markdown table and the survivors' names."""
    total = sum(len(tally.survivors) for tally in tallies)
    lines = [f"\nSeed {seed}, {seconds / 60:.0f} minutes, {total} survived", ""]
    lines += [
        "| room | mutants | killed | of them by time-out | survived |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [tally.row() for tally in tallies]
    for tally in tallies:
        lines += ["", f"Survivors of {tally.room.name}:", ""]
        lines += [f"- `{site.name}`" for site in tally.survivors]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the rooms one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants")
    parser.add_argument("--room", action="append", type=Room.parse, required=True, dest="rooms")
    parser.add_argument("--count", type=int, default=25, help="mutants a room")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="only say which they are")
    options = parser.parse_args(arguments)
    if options.list:
        for room in options.rooms:
            print(
                room.name,
                *(site.name for site in room.mutants(options.count, options.seed)),
                sep="\n  ",
            )
        return 0
    begun = time.monotonic()
    tallies = [try_room(room, options.count, options.seed) for room in options.rooms]
    print(report(tallies, options.seed, time.monotonic() - begun))
    return 0


if __name__ == "__main__":
    sys.exit(main())
