"""A run with known figures."""

from __future__ import annotations

from benchmarks.results import Run

MACHINE = {
    "date": "1 April 2026",
    "command": "python -m benchmarks.run",
    "rounds": 3,
    "processor": "an abacus",
    "cores": 4,
    "kernel": "Linux 6",
    "load": 0.1,
    "versions": {"Python": "3.11", "nchan": "1.3"},
}


def make_run() -> Run:
    run = Run(dict(MACHINE))
    for closed, burst in ((90.0, 1000.0), (100.0, 1200.0), (130.0, 800.0)):
        run.add("fanout", "nchan", {"closed": closed, "burst": burst, "latency_p50": 4.0})
        ours = {"closed": 2 * closed, "burst": 3 * burst, "latency_p50": 5.0, "closed_lost": 2.0}
        run.add("fanout", "ours-uvicorn", ours)
    run.add("fanout", "ours-uvicorn-sqlite", {"latency_p50": 7.5, "other_process_p50": 12.0})
    for price, delay in ((2.1, 30.0), (1.9, 20.0), (1.8, 80.0)):
        values = {"run": 50_000.0, "stream": 50_000 * price, "price": price}
        run.add("runs", "ours-uvicorn-sqlite", {**values, "run_paced_p99": delay})
    for size, cost in ((10, 50.0), (1000, 5.0)):
        run.add("clients", f"peer-{size}", {f"clients_{size}_cpu": cost})
    return run
