"""What a run keeps of its rounds."""

from __future__ import annotations

from pathlib import Path

from benchmarks.results import Run
from tests.integration.benchmarks.support import make_run


def test_a_figure_is_the_median_with_its_extremes():
    figure = make_run().figure("fanout", "nchan", "closed")
    assert figure is not None
    assert (figure.low, figure.median, figure.high) == (90, 100, 130)


def test_counts_are_summed_over_the_rounds():
    assert make_run().total("fanout", "ours-uvicorn", "closed_lost") == 6


def test_what_was_not_measured_is_none():
    run = make_run()
    assert run.median("fanout", "nchan", "other_process_p50") is None
    assert run.median("fanout", "nobody", "closed") is None
    assert run.median("idle", "nchan", "closed") is None
    assert run.total("idle", "nchan", "closed") == 0


def test_a_run_is_the_same_after_it_was_kept(tmp_path: Path):
    run = make_run()
    run.failures.append("nchan: it did not start")
    run.save(tmp_path / "results" / "run.json")
    assert Run.read(tmp_path / "results" / "run.json") == run
