"""What is measured of one running peer, and of which peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks import build
from benchmarks.generator import Load, Result
from benchmarks.machine import Cores
from benchmarks.peers.registry import PEERS, Peer
from benchmarks.processes import Tree, free_port

Values = dict[str, float]

KIB: Final = 1024
SLOW_EVENT: Final = 20 * KIB
SLOW_RATE: Final = 200
LATENCY_RATE: Final = 20
TOKENS: Final = 200
GENERATORS: Final = 200
TOKEN_RATE: Final = 50
REPLAYED: Final = 10_000
WINDOW: Final = 64


@dataclass(frozen=True, slots=True)
class Scale:
    """How long and how large; what ``--quick`` makes smaller."""

    rounds: int = 3
    seconds: float = 2.0
    latency_seconds: float = 3.0
    clients: int = 1000
    idle: tuple[int, ...] = (100, 1000, 10_000)
    growth: tuple[int, ...] = (10, 100, 1000, 10_000)
    slow_seconds: float = 10.0


QUICK: Final = Scale(1, 1.0, 2.0, 1000, (100, 1000), (10, 100, 1000), 4.0)


@dataclass(slots=True)
class Session:
    """One peer, started, with a load generator aimed at it."""

    peer: Peer
    directory: Path
    tree: Tree
    load: Load
    scale: Scale
    wanted: frozenset[str]
    values: Values = field(default_factory=dict)

    def costing(self, name: str, act: Callable[[], Result]) -> Result:
        """The result of ``act``; notes its CPU microseconds an event and what went wrong."""
        before = self.tree.cpu_seconds()
        result = act()
        used = self.tree.cpu_seconds() - before
        self.values[f"{name}_cpu"] = used / max(1, result.delivered) * 1e6
        for wrong in ("lost", "doubled", "disordered"):
            self.values[f"{name}_{wrong}"] = getattr(result, wrong)
        return result

    def latency(self, name: str, act: Callable[[], Result]) -> None:
        result = self.costing(name, act)
        self.values.update({f"{name}_p50": result.p50, f"{name}_p99": result.p99})


@contextmanager
def session(
    peer: Peer, scale: Scale, wanted: frozenset[str], directory: Path, port: int
) -> Iterator[Session]:
    """``peer`` on a directory that was prepared."""
    cores = Cores.of_machine()
    with (
        peer.running(cores.server, directory, port) as tree,
        Load(
            build.load_generator(), port, peer.publish_path, each=peer.each, cores=cores.load
        ) as load,
    ):
        yield Session(peer, directory, tree, load, scale, wanted)


def live(now: Session) -> None:
    """Fan-out to a thousand clients, as fast as it goes, then at a steady rate."""
    load, scale = now.load, now.scale
    load.open(scale.clients, now.peer.stream)
    load.warm(0.5)
    if "fanout" in now.wanted:
        for name, act in (
            ("closed", partial(load.closed, WINDOW)),
            ("lockstep", partial(load.lockstep, 1)),
            ("burst", partial(load.lockstep, 16)),
        ):
            now.values[name] = now.costing(name, partial(act, scale.seconds)).speed
    if "latency" in now.wanted:
        now.latency("latency", lambda: load.rate(LATENCY_RATE, scale.latency_seconds))
        if now.peer.is_logged:
            now.latency("other_process", lambda: _from_other_process(now))


def _from_other_process(now: Session) -> Result:
    count = int(LATENCY_RATE * now.scale.latency_seconds)
    now.load.watch(count, now.scale.latency_seconds + 20)
    now.peer.run("benchmarks.site.publisher", now.directory, now.load.next_seq, count, LATENCY_RATE)
    return now.load.watched()


def idle(now: Session) -> None:
    """What clients cost that get nothing; then one publish a second to all of them."""
    load = now.load
    load.open(10, now.peer.stream)
    load.warm(0.5)
    before, base_threads = now.tree.memory(), now.tree.threads()
    for count in now.scale.idle:
        seconds = load.open(count, now.peer.stream)
        now.values[f"opened_{count}"] = seconds
        now.values[f"kib_{count}"] = (now.tree.memory() - before) / (count - 10) / KIB
        now.values[f"threads_{count}"] = (now.tree.threads() - base_threads) / (count - 10)
    load.warm(1)
    now.latency("steady", lambda: load.rate(1, 2 * now.scale.latency_seconds))


def generate(now: Session) -> None:
    """A generator for each client, all at once; tokens delivered a second."""
    for name, tokens in (("warm", TOKENS // 4), ("tokens", TOKENS)):
        now.load.open(GENERATORS, "/generate")
        result = now.costing(name, lambda tokens=tokens: now.load.gate(tokens))  # type: ignore[misc]
        now.load.close_clients()
        now.values[name] = result.speed


def runs(now: Session) -> None:
    """The same with a run for each client, and with neither log nor run, in turns; then both at a
    steady rate of tokens."""
    load, ways = now.load, {"run": "/run", "stream": "/generate"}
    for warm in (True, False):
        for name, path in ways.items():
            load.open(GENERATORS, path)
            result = now.costing(name, partial(load.gate, TOKENS // 4 if warm else TOKENS))
            load.close_clients()
            now.values[name] = result.speed
    for name, path in ways.items():
        load.open(GENERATORS, path)
        count = int(TOKEN_RATE * now.scale.latency_seconds)
        now.latency(f"{name}_paced", partial(load.gate, count, TOKEN_RATE))
        load.close_clients()
    now.values["price"] = now.values["stream"] / now.values["run"]


def replay(now: Session) -> None:
    """The whole channel to one client: milliseconds until it has the last event."""
    path, header = now.peer.replay
    if now.peer.each:
        now.load.fill(REPLAYED)
    for name in ("cold", "again", "warm"):
        result = now.load.replay(REPLAYED, path, header)
        now.load.close_clients()
        now.values[name] = result.seconds * 1e3
        now.values[f"{name}_lost"] = result.lost


def slow(now: Session) -> None:
    """One client that never reads among ten that do: what the process grows by."""
    load = now.load
    load.open(10, now.peer.stream)
    load.warm(0.5)
    load.rate(SLOW_RATE, 1, SLOW_EVENT)
    before = now.tree.memory()
    load.open_silent(1, now.peer.stream.replace("%u", "0"))
    now.latency("others", lambda: load.rate(SLOW_RATE, now.scale.slow_seconds, SLOW_EVENT))
    now.values["grown_mib"] = (now.tree.memory() - before) / KIB / KIB


def growth_clients(now: Session) -> None:
    """CPU an event, from few clients to many, in lock step."""
    for count in now.scale.growth:
        now.load.open(count, now.peer.stream)
        now.load.warm(0.5)
        now.costing(f"clients_{count}", lambda: now.load.lockstep(1, now.scale.seconds))


def growth_channels(now: Session) -> None:
    """CPU an event, from few channels to many, one client each, ten events a burst."""
    for count in now.scale.growth:
        now.load.open(count, now.peer.stream, channels=count)
        now.load.warm(0.5)
        now.costing(f"channels_{count}", lambda: now.load.lockstep(10, now.scale.seconds))
        now.load.close_clients()


@dataclass(frozen=True, slots=True)
class Measure:
    """``run`` fills in the values of a session. ``once``: large or slow, and hardly noisy."""

    names: tuple[str, ...]
    run: Callable[[Session], None]
    peers: tuple[str, ...]
    once: bool = False
    fill: bool = False
    """Whether the log is to have ``REPLAYED`` events before the server starts."""


_ALL = tuple(PEERS)
_HAND = ("hand-daphne", "hand-uvicorn", "hand-granian")
_OURS = ("ours-daphne", "ours-uvicorn", "ours-granian")
_PLAIN = ("ours-uvicorn-plain",)
_OTHERS = ("c", "nchan", "better-sse", "sse-starlette")
_LOGS = ("ours-uvicorn-sqlite", "ours-uvicorn-postgres")
_SLOW = (
    *("nchan-short", "better-sse", "sse-starlette", *_HAND),
    *("ours-daphne-sqlite", "ours-uvicorn-sqlite", "ours-granian-sqlite"),
)
_GROWTH = ("c", "nchan", "hand-uvicorn", "ours-uvicorn", "ours-uvicorn-sqlite")

MEASURES: Final = (
    Measure(("fanout", "latency"), live, _ALL),
    Measure(
        ("generate",),
        generate,
        ("c", "better-sse", "sse-starlette", *_HAND, *_OURS, "ours-uvicorn-plain"),
    ),
    Measure(("runs",), runs, _LOGS),
    Measure(("replay",), replay, ("nchan", "eventstream-sqlite", *_LOGS, "ours-ring"), fill=True),
    Measure(("idle",), idle, (*_OTHERS, "eventstream", *_HAND, *_OURS, *_PLAIN), once=True),
    # With a log that is not in the process: what grows is then what waits for the client.
    Measure(("slow",), slow, _SLOW, once=True),
    Measure(("clients",), growth_clients, _GROWTH, once=True),
    Measure(("channels",), growth_channels, _GROWTH[1:], once=True),
)


def take(measure: Measure, peer: Peer, scale: Scale, wanted: frozenset[str]) -> Values:
    """One round of ``measure`` on ``peer``, in a directory and a process of its own."""
    with TemporaryDirectory(prefix="django-sse-bench-") as name:
        directory, port = Path(name), free_port()
        try:
            peer.prepare(peer, directory, port)
            if measure.fill and peer.fill:
                peer.fill(peer, directory, REPLAYED)
            with session(peer, scale, wanted, directory, port) as now:
                measure.run(now)
        finally:
            peer.tidy(peer, directory, port)
        return now.values
