"""The report: its tables, and its place among what is written by hand."""

from __future__ import annotations

from benchmarks import report
from tests.integration.benchmarks.support import make_run


def rows(text: str) -> list[list[str]]:
    lines = (line for line in text.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_cell_has_the_median_and_the_spread():
    cells = next(row for row in rows(report.text(make_run())) if row[0] == "nchan (nginx)")
    assert [cells[1], cells[3]] == ["100 (90 to 130)", "1,000 (800 to 1,200)"]


def test_what_went_wrong_is_said():
    assert "| 6 lost |" in report.text(make_run())


def test_a_measure_without_figures_has_no_section():
    text = report.text(make_run())
    assert "### Fan-out" in text
    assert "### Replay" not in text
    run = make_run()
    for rounds in run.rounds["fanout"].values():
        for values in rounds:
            values.pop("latency_p50")
            values.pop("other_process_p50", None)
    assert "### Latency" not in report.text(run)


def test_columns_of_growth_are_in_the_order_of_their_sizes():
    run = make_run()
    run.add("clients", "peer-10", {"clients_200_cpu": 9.0})
    header = next(row for row in rows(report.text(run)) if row[1:2] == ["10"])
    assert header[1:4] == ["10", "200", "1,000"]


def test_missed_targets_stand_out():
    table = {row[0]: row for row in rows(report.text(make_run()))}
    assert table["Closed loop, to nchan"][2:] == ["2.00 times", "met"]
    assert table["Bursts of 16, to nchan"][2:] == ["3.00 times", "**missed**"]


def test_failures_are_listed_with_their_reason_and_without_the_traceback():
    run = make_run()
    run.failures = ["idle, nchan: it ended\ntraceback\n  ImportError: no\n", "slow, c: no answer"]
    assert "- idle, nchan: it ended: ImportError: no\n- slow, c: no answer\n" in report.text(run)


def test_a_busy_machine_is_mentioned():
    run = make_run()
    assert "other work" not in report.text(run)
    run.machine["load"] = 3.5
    assert "load 3.5" in report.text(run)


def test_the_report_replaces_the_last_one_and_nothing_else():
    page = "# Title\n\nBy hand.\n"
    once = report.insert(page, "first report")
    assert once.startswith(page)
    after = once + "\nMore by hand.\n"
    twice = report.insert(after, "second report")
    assert "first" not in twice
    assert twice.replace("second", "first") == after
