"""All peers, all measures, one report: ``make bench``.

    python -m benchmarks.run [--quick] [--only fanout,latency] [--peers ours-uvicorn,nchan]
                             [--rounds 3] [--seconds 2] [--clients 1000] [--no-report]

Each round of a measure goes through all peers before the next begins, so that what disturbs the
machine disturbs all alike. A run of everything writes docs/benchmarks.md; a part only prints.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks import build, report
from benchmarks.generator import LoadFailed
from benchmarks.machine import Cores, describe, leave_to_others, raise_limits, warnings
from benchmarks.measures import MEASURES, QUICK, Measure, Scale, take
from benchmarks.peers.registry import OTHERS, PEERS, Peer
from benchmarks.processes import ServerFailed, end_on_signals
from benchmarks.results import RESULTS, Run

NAMES = [name for measure in MEASURES for name in measure.names]
QUICK_PEERS = ("c", "nchan", "eventstream", "hand-uvicorn", "ours-uvicorn", "ours-uvicorn-sqlite")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("--quick", action="store_true", help="three minutes: does it all work?")
    parser.add_argument("--only", default=",".join(NAMES), help="of: %(default)s")
    parser.add_argument("--peers", default="", help=f"of: {','.join([*PEERS, *OTHERS])}")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of a measure")
    parser.add_argument("--clients", type=int, help="of the fan-out")
    parser.add_argument("--no-report", action="store_true", help="leave docs/ as it is")
    options = parser.parse_args(arguments)
    options.only = frozenset(filter(None, options.only.split(",")))
    options.peers = list(filter(None, options.peers.split(",")))
    unknown = [*(options.only - set(NAMES)), *(set(options.peers) - {*PEERS, *OTHERS})]
    if unknown:
        parser.error(f"no such measure or peer: {', '.join(unknown)}")
    return options


def _scale(options: argparse.Namespace) -> Scale:
    given = {"rounds": options.rounds, "seconds": options.seconds, "clients": options.clients}
    chosen = {name: value for name, value in given.items() if value is not None}
    return replace(QUICK if options.quick else Scale(), **chosen)


def _plan(options: argparse.Namespace, scale: Scale) -> Iterator[tuple[Measure, Peer]]:
    known = {**PEERS, **OTHERS}
    chosen = options.peers or (QUICK_PEERS if options.quick else tuple(known))
    if not build.postgres_answers():
        print("Warning: no PostgreSQL at PGHOST:PGPORT (127.0.0.1:5432): measured without it.")
        chosen = [name for name in chosen if "postgres" not in name]
    for measure in MEASURES:
        if not options.only.isdisjoint(measure.names):
            for _ in range(1 if measure.once else scale.rounds):
                yield from ((measure, known[name]) for name in measure.peers if name in chosen)


def _line(values: dict[str, float]) -> str:
    wrong = {name: value for name, value in values.items() if name.endswith(_WRONG) and value}
    shown = {name: value for name, value in values.items() if not name.endswith(_WRONG)} | wrong
    return "  ".join(
        f"{name} {value:,.{0 if value >= 100 else 1}f}" for name, value in shown.items()
    )


_WRONG = ("_lost", "_doubled", "_disordered")


def _measure(run: Run, measure: Measure, peer: Peer, scale: Scale, wanted: frozenset[str]) -> None:
    title = ",".join(measure.names)
    try:
        values = take(measure, peer, scale, wanted)
    except (ServerFailed, LoadFailed) as error:
        # The others' figures are worth having.
        run.failures.append(f"{title}, {peer.name}: {error}")
        print(f"{title:16} {peer.name:22} FAILED: {error}", flush=True)
        return
    run.add(measure.names[0], peer.name, values)
    print(f"{title:16} {peer.name:22} {_line(values)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    scale = _scale(options)
    end_on_signals()
    build.install_debian()
    build.install_node()
    build.load_generator()
    build.broadcaster()
    files = raise_limits()
    for warning in warnings(files):
        print(f"Warning: {warning}")
    leave_to_others(Cores.of_machine())
    started = time.monotonic()
    run = Run(describe(" ".join(sys.argv[1:]), scale.rounds))
    for measure, peer in _plan(options, scale):
        _measure(run, measure, peer, scale, options.only)
    run.machine["minutes"] = round((time.monotonic() - started) / 60, 1)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    run.save(path)
    print(f"\n{path}\n")
    whole = options.only == set(NAMES) and not options.peers and not options.quick
    if whole and not options.no_report:
        report.write(run)
    else:
        print(report.text(run))
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
