"""The plan of a run, and a tiny run of real peers."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import pytest

from benchmarks import build, run
from benchmarks.measures import MEASURES, QUICK, Measure, Scale, live, take
from benchmarks.peers.registry import OTHERS, PEERS
from tests.requirements import in_full

TINY = Scale(1, 0.2, 0.5, 5, (20,), (10,), 0.5)
WANTED = frozenset(run.NAMES)


def test_all_peers_have_a_round_before_the_next_begins():
    options = run._parse(["--only", "fanout", "--peers", "nchan,c", "--rounds", "2"])
    plan = [peer.name for _, peer in run._plan(options, run._scale(options))]
    assert plan == ["c", "nchan", "c", "nchan"]


def test_large_measures_are_taken_once():
    options = run._parse(["--rounds", "3", "--peers", "nchan"])
    plan = run._plan(options, run._scale(options))
    counts = {measure: len(list(group)) for measure, group in groupby(plan, lambda each: each[0])}
    assert {measure.names[0]: count for measure, count in counts.items()} == {
        "fanout": 3, "replay": 3, "idle": 1, "clients": 1, "channels": 1
    }  # fmt: skip


@pytest.mark.parametrize("arguments", [["--only", "speed"], ["--peers", "apache"]])
def test_unknown_names_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        run._parse(arguments)
    assert "no such measure or peer" in capsys.readouterr().err


def test_quick_is_smaller_and_what_is_given_goes_before():
    assert run._scale(run._parse(["--quick"])) == QUICK
    assert run._scale(run._parse(["--quick", "--clients", "7"])).clients == 7


def test_measures_name_peers_that_there_are():
    assert {name for measure in MEASURES for name in measure.peers} <= {*PEERS, *OTHERS}
    labels = [peer.label for peer in [*PEERS.values(), *OTHERS.values()]]
    assert len(set(labels)) == len(labels)


def measure(name: str) -> Measure:
    return next(each for each in MEASURES if name in each.names)


@pytest.mark.needs("cc")
@in_full
def test_the_limit_loses_nothing():
    build.broadcaster()
    values = take(measure("fanout"), PEERS["c"], TINY, WANTED)
    assert values["closed"] > 0
    assert values["burst"] > 0
    assert not [name for name in values if name.endswith(("_lost", "_doubled")) and values[name]]


@pytest.mark.needs("cc", "daphne")
@in_full
@pytest.mark.parametrize("name", ["hand-daphne", "ours-daphne", "ours-daphne-plain"])
def test_a_peer_on_daphne_fans_out_and_generates(name: str):
    values = take(Measure(("fanout", "latency"), live, ()), PEERS[name], TINY, WANTED)
    assert values["closed"] > 0
    assert values["latency_p50"] > 0
    assert values["latency_lost"] == values["burst_lost"] == 0


@pytest.mark.needs("cc", "daphne")
@in_full
def test_what_another_process_publishes_is_measured_and_the_log_replayed():
    # On daphne, which the suite has on every Python.
    peer = replace(PEERS["ours-uvicorn-sqlite"], command=PEERS["ours-daphne"].command)
    values = take(measure("latency"), peer, TINY, frozenset({"latency"}))
    assert values["other_process_p50"] > 0
    assert values["other_process_lost"] == 0
    assert "closed" not in values
    assert take(measure("replay"), peer, TINY, WANTED)["cold_lost"] == 0


@pytest.mark.needs("cc", "daphne")
@in_full
def test_runs_are_measured_against_the_same_generators_without_a_log():
    peer = replace(PEERS["ours-uvicorn-sqlite"], command=PEERS["ours-daphne"].command)
    values = take(measure("runs"), peer, TINY, WANTED)
    assert values["price"] == values["stream"] / values["run"] > 0
    assert values["run_paced_p99"] > 0
    assert not [name for name in values if name.endswith(("_lost", "_doubled")) and values[name]]
