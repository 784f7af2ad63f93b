"""From a run to Markdown and plots.

python -m benchmarks.report benchmarks/results/<run>.json
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import plots
from benchmarks.peers.registry import OTHERS, PEERS
from benchmarks.plots import Plot
from benchmarks.results import Figure, Run
from benchmarks.targets import TARGETS

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
PAGE: Final = DOCS / "benchmarks.md"
PLOTS: Final = DOCS / "benchmarks"
BEGIN: Final = "<!-- What follows is written by `make bench`. -->"
END: Final = "<!-- End of what is written by `make bench`. -->"
LABELS: Final = {name: peer.label for name, peer in {**PEERS, **OTHERS}.items()}

Cell = Callable[[Run, str], str]


def number(value: float, digits: int = 0) -> str:
    return f"{value:,.{digits}f}"


def _digits(value: float) -> int:
    return 0 if abs(value) >= 100 else 1


def spread(figure: Figure | None) -> str:
    """Median, and from the lowest to the highest round."""
    if figure is None:
        return "-"
    digits = _digits(figure.median)
    text = number(figure.median, digits)
    if len(figure.values) == 1:
        return text
    return f"{text} ({number(figure.low, digits)} to {number(figure.high, digits)})"


def value(measure: str, name: str) -> Cell:
    return lambda run, peer: spread(run.figure(measure, peer, name))


def median(measure: str, name: str) -> Cell:
    def cell(run: Run, peer: str) -> str:
        found = run.median(measure, peer, name)
        return "-" if found is None else number(found, _digits(found))

    return cell


def wrong(measure: str, *names: str) -> Cell:
    """How many events were lost, doubled, out of order, over all rounds."""

    def cell(run: Run, peer: str) -> str:
        counts = {
            kind: sum(run.total(measure, peer, f"{name}_{kind}") for name in names)
            for kind in ("lost", "doubled", "disordered")
        }
        return ", ".join(f"{number(count)} {kind}" for kind, count in counts.items() if count)

    return cell


def table(run: Run, measure: str, columns: dict[str, Cell]) -> Iterator[str]:
    """Nothing where none of it was measured."""
    rows = {peer: [cell(run, peer) for cell in columns.values()] for peer in run.peers(measure)}
    if all(set(cells) <= {"-", ""} for cells in rows.values()):
        return
    yield f"| | {' | '.join(columns)} |"
    yield "|---|" + "--:|" * len(columns)
    for peer, cells in rows.items():
        label = LABELS.get(peer, peer)
        yield f"| {f'**{label}**' if peer.startswith('ours') else label} | {' | '.join(cells)} |"


def targets(run: Run) -> Iterator[str]:
    for target in TARGETS:
        found = target.value(run)
        if found is not None:
            verdict = "met" if target.is_met(found) else "**missed**"
            yield f"| {target.what} | {target.wanted} | {found:.2f} {target.unit} | {verdict} |"


def machine(facts: dict[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    yield (
        f"Run of {facts['date']}: `{facts['command']}`, rounds: {facts['rounds']}, "
        f"minutes: {facts.get('minutes', '?')}."
    )
    yield f"{facts['cores']} cores of {facts['processor']}, {facts['kernel']}; {versions}."
    if facts["load"] > 0.5:
        yield (
            f"The machine did other work at the start (load {facts['load']}): read the ratios, not "
            "the absolute figures."
        )


FAN_OUT: Final[dict[str, Cell]] = {
    "closed loop, events/s": value("fanout", "closed"),
    "in lock step": value("fanout", "lockstep"),
    "bursts of 16, events/s": value("fanout", "burst"),
    "CPU µs an event": median("fanout", "closed_cpu"),
    "in lock step, µs": median("fanout", "lockstep_cpu"),
    "in bursts, µs": median("fanout", "burst_cpu"),
    "wrong": wrong("fanout", "closed", "lockstep", "burst"),
}
LATENCY: Final[dict[str, Cell]] = {
    "median, ms": value("fanout", "latency_p50"),
    "99 %, ms": value("fanout", "latency_p99"),
    "CPU µs an event": median("fanout", "latency_cpu"),
    "published by another process: median, ms": value("fanout", "other_process_p50"),
    "99 %": value("fanout", "other_process_p99"),
    "wrong": wrong("fanout", "latency", "other_process"),
}
GENERATE: Final[dict[str, Cell]] = {
    "tokens/s": value("generate", "tokens"),
    "CPU µs a token": median("generate", "tokens_cpu"),
    "wrong": wrong("generate", "tokens"),
}
RUNS: Final[dict[str, Cell]] = {
    "run, tokens/s": value("runs", "run"),
    "without log, tokens/s": value("runs", "stream"),
    "price, times": value("runs", "price"),
    "CPU µs a token": median("runs", "run_cpu"),
    "without log, µs": median("runs", "stream_cpu"),
    "50 a second: median, ms": value("runs", "run_paced_p50"),
    "99 %, ms": value("runs", "run_paced_p99"),
    "without log: 99 %, ms": value("runs", "stream_paced_p99"),
    "CPU µs a token at 50 a second": median("runs", "run_paced_cpu"),
    "without log at 50, µs": median("runs", "stream_paced_cpu"),
    "wrong": wrong("runs", "run", "stream", "run_paced", "stream_paced"),
}
REPLAY: Final[dict[str, Cell]] = {
    "first client after the start, ms": value("replay", "cold"),
    "a later one, ms": value("replay", "warm"),
    "lost": wrong("replay", "cold", "warm"),
}
SLOW: Final[dict[str, Cell]] = {
    "grown by, MiB": value("slow", "grown_mib"),
    "the others: median, ms": value("slow", "others_p50"),
    "99 %, ms": value("slow", "others_p99"),
    "wrong": wrong("slow", "others"),
}


def idle_columns(run: Run) -> dict[str, Cell]:
    sizes = sizes_of(run, "idle", "kib_")
    largest = sizes[-1] if sizes else 0
    return {
        **{f"KiB, {number(size)} clients": median("idle", f"kib_{size}") for size in sizes},
        "threads a client": median("idle", f"threads_{largest}"),
        "s to open them all": median("idle", f"opened_{largest}"),
        f"1/s to {number(largest)}: median, ms": median("idle", "steady_p50"),
        "99 %, ms": median("idle", "steady_p99"),
        "CPU µs an event": median("idle", "steady_cpu"),
        "wrong": wrong("idle", "steady"),
    }


def sizes_of(run: Run, measure: str, prefix: str, suffix: str = "") -> list[int]:
    """The numbers between ``prefix`` and ``suffix`` in the names of what was measured."""
    names = {
        name for peer in run.peers(measure) for each in run.rounds[measure][peer] for name in each
    }
    middles = (
        name[len(prefix) : len(name) - len(suffix)]
        for name in names
        if name.startswith(prefix) and name.endswith(suffix)
    )
    return sorted({int(middle) for middle in middles if middle.isdigit()})


def growth_columns(run: Run, measure: str) -> dict[str, Cell]:
    sizes = sizes_of(run, measure, f"{measure}_", "_cpu")
    names = [f"{measure}_{size}" for size in sizes]
    columns = {number(size): median(measure, f"{measure}_{size}_cpu") for size in sizes}
    return {**columns, "wrong": wrong(measure, *names)}


def sections(run: Run) -> Iterator[tuple[str, str, str, dict[str, Cell]]]:
    """Title, the measure, what it says, and the columns of its table."""
    yield plots.FAN_OUT, "fanout", TEXTS["fanout"], FAN_OUT
    yield plots.LATENCY, "fanout", TEXTS["latency"], LATENCY
    yield plots.IDLE, "idle", TEXTS["idle"], idle_columns(run)
    yield plots.GENERATE, "generate", TEXTS["generate"], GENERATE
    yield "Runs: a generator for each client, through the log", "runs", TEXTS["runs"], RUNS
    yield "Replay of 10,000 events to one client", "replay", TEXTS["replay"], REPLAY
    yield "A client that never reads", "slow", TEXTS["slow"], SLOW
    yield plots.CLIENTS, "clients", TEXTS["clients"], growth_columns(run, "clients")
    yield (
        plots.CHANNELS,
        "channels",
        TEXTS["channels"],
        growth_columns(run, "channels"),
    )


TEXTS: Final = {
    "fanout": "Events of 100 bytes, delivered a second over all clients. Closed loop: the next "
    "event is published when the server has acknowledged the last, as one publisher does who waits "
    "for each publish, and clients are at most 64 events behind on average. Lock step: when all "
    "clients have the last one. Bursts: 16 at once, the next when all have all.",
    "latency": "From the publish to each client. Where no log is named events come from the hub, "
    "without a log; the databases are on the same machine, on other cores.",
    "idle": "Memory (PSS of all processes of the server) and threads that a client adds that gets "
    "nothing; then one event a second to all of them. One round.",
    "generate": "200 clients get 200 tokens each from a generator of their own, which awaits each "
    "token.",
    "runs": "The same generators as runs (`@event_stream(resumable=True)`), whose tokens are in "
    "the log before a client has them, and without, in turns on one server: first as fast as they "
    "go, then 50 tokens a second each, from the `yield` to the client. The price is the ratio of "
    "the tokens a second.",
    "replay": "From the connection to the last event. nchan keeps events in memory, the others in "
    "a database; the ring is django_sse's memory of a channel (`RING_EVENTS`).",
    "slow": "20 KiB, 200 times a second for 10 s, to one client that never reads and ten that do; "
    "40 MB in all. nchan is told to keep 50 messages: it keeps them in memory. One round.",
    "clients": "CPU µs an event and client in lock step, with what the publish costs. One round.",
    "channels": "CPU µs an event, one client a channel, ten events a publish. One round.",
}


def text(run: Run, drawn: Sequence[Plot] = ()) -> str:
    """The report in Markdown; ``drawn``: the plots that stand in docs/."""
    lines = [*machine(run.machine), ""]
    if judged := list(targets(run)):
        head = ["| | wanted | measured | |", "|---|--:|--:|---|"]
        lines += ["### What is wanted", "", *head, *judged, ""]
    for title, measure, says, columns in sections(run):
        if rows := list(table(run, measure, columns)):
            lines += [f"### {title}", "", says, ""]
            for plot in drawn:
                if plot.section == title:
                    lines += [f"![{plot.title}]({PLOTS.name}/{plot.name}.svg)", ""]
            lines += [*rows, ""]
    if run.failures:
        failed = (f"- {_in_short(each)}" for each in run.failures)
        lines += ["### What failed", "", *failed, ""]
    return "\n".join(lines)


def _in_short(failure: str) -> str:
    """What failed, and a traceback's last line."""
    first, *rest = failure.strip().splitlines()
    return f"{first}: {rest[-1].strip()}" if rest else first


def insert(page: str, report: str) -> str:
    """``page`` with ``report`` between the marks, at its end where it has none."""
    before, begin, rest = page.partition(BEGIN)
    after = rest.partition(f"{END}\n")[2] if begin else ""
    return f"{before.rstrip()}\n\n{BEGIN}\n\n{report.strip()}\n\n{END}\n{after}"


def write(run: Run) -> None:
    """Into docs/: the page and its plots."""
    drawn = plots.of(run, LABELS)
    PLOTS.mkdir(exist_ok=True)
    for plot in drawn:
        (PLOTS / f"{plot.name}.svg").write_text(plot.svg)
    PAGE.write_text(insert(PAGE.read_text(), text(run, drawn)))
    print(f"Written: {PAGE}")


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        raise SystemExit("python -m benchmarks.report benchmarks/results/<run>.json")
    write(Run.read(Path(arguments[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
