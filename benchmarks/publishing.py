"""Publishing from coroutines: events committed a second, with and without group commit.

    python -m benchmarks.publishing [--rounds 3] [--seconds 1.5] [--latency] [--only sqlite]

The log alone: no stream reads, no other process is told. "Without" is what `apublish` would be if
each call had a transaction of its own in one of the library's threads. Each round measures every
cell once; what is printed is the median, and the smallest and largest; and the CPU time of this
process for each event, which other work on the machine disturbs less. `--latency` measures how long
a call takes at a fixed rate instead: 200 callers, `--rate` calls a second each, a channel each.

PostgreSQL and MariaDB are where `DJANGO_SSE_TEST_POSTGRES_URL` and `DJANGO_SSE_TEST_MARIADB_URL`
say (default: their standard ports on this machine), each with a database made for the occasion.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test.utils import override_settings

from benchmarks.encode import processor
from tests import databases

SQLITE = "PRAGMA journal_mode=WAL; PRAGMA synchronous={};"
SERVERS = {"PostgreSQL": databases.POSTGRES_URL, "MariaDB": databases.MARIADB_URL}
CALLERS = 200

DATA = {"id": 12345, "name": "order", "status": "paid", "amount": "123.45", "note": "thanks"}

Publish = Callable[[str, Any, str], Awaitable[object]]


@dataclass(frozen=True)
class Case:
    database: str
    callers: int
    channels: int

    @property
    def name(self) -> str:
        callers = "1 caller" if self.callers == 1 else f"{self.callers} callers"
        channels = "one channel" if self.channels == 1 else f"{self.channels} channels"
        return f"{self.database}, {callers}, {channels}"


# -- the databases


def sqlite(directory: str, synchronous: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(directory, f"{synchronous}.sqlite3"),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": SQLITE.format(synchronous),
        },
    }


@contextmanager
def configured(only: str) -> Iterator[list[str]]:
    """Django with a database of each kind, migrated; their names."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="django-sse-bench-"))
        made = {f"SQLite ({each})": sqlite(directory, each) for each in ("NORMAL", "FULL")}
        for name, url in SERVERS.items():
            if only in name.lower() and databases.answers(url):
                made[name] = databases.config(stack.enter_context(databases.fresh(url)))
        made = {name: config for name, config in made.items() if only in name.lower()}
        settings.configure(
            DATABASES={"default": {}, **made},
            INSTALLED_APPS=["django_sse"],
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            USE_TZ=True,
            SECRET_KEY="only for this",
        )
        django.setup()
        for name in made:
            call_command("migrate", database=name, verbosity=0)
        try:
            yield list(made)
        finally:
            connections.close_all()


# -- the two ways


async def grouped(channel: str, data: Any, event: str) -> None:
    from django_sse import apublish

    await apublish(channel, data, event)


async def one_by_one(channel: str, data: Any, event: str) -> None:
    from django_sse import publish
    from django_sse.process import database

    await database.write(publish, channel, data, event)


WAYS: dict[str, Publish] = {"without": one_by_one, "group commit": grouped}


# -- publishes a second


async def measure(case: Case, publish: Publish, seconds: float) -> tuple[float, float]:
    """Of callers that each publish again when the last is committed: publishes a second, and the
    microseconds of CPU time that one took."""
    published = 0
    end = 0.0

    async def call(number: int) -> None:
        nonlocal published
        channel = f"channel-{number % case.channels}"
        while time.perf_counter() < end:
            await publish(channel, DATA, "status")
            published += 1

    # The channels' rows, the thread and its connection are there when the clock starts.
    await asyncio.gather(*[grouped(f"channel-{n}", DATA, "status") for n in range(CALLERS)])
    await asyncio.gather(*[publish("channel-0", DATA, "status") for _ in range(4)])
    started, busy = time.perf_counter(), time.process_time()
    end = started + seconds
    await asyncio.gather(*[call(number) for number in range(case.callers)])
    taken, busy = time.perf_counter() - started, time.process_time() - busy
    return published / taken, busy / published * 1e6


def run(case: Case, publish: Publish, seconds: float) -> tuple[float, float]:
    options = {"DATABASE": case.database, "NOTIFIER": "local"}
    with override_settings(DJANGO_SSE=options):
        return asyncio.run(measure(case, publish, seconds))


def cell(rates: Sequence[float]) -> str:
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


def report(cases: Sequence[Case], rounds: int, seconds: float) -> None:
    found: dict[tuple[Case, str], list[tuple[float, float]]] = {
        (case, way): [] for case in cases for way in WAYS
    }
    for _ in range(rounds):
        for (case, way), results in found.items():
            results.append(run(case, WAYS[way], seconds))
    print("\n| publishes/s | " + " | ".join(WAYS) + " | ratio | CPU us an event |")
    print("|---|" + "--:|" * (len(WAYS) + 2))
    for case in cases:
        rates = [[rate for rate, _ in found[case, way]] for way in WAYS]
        ratio = statistics.median(b / a for a, b in zip(*rates, strict=True))
        busy = [statistics.median(cpu for _, cpu in found[case, way]) for way in WAYS]
        cells = [*map(cell, rates), f"**{ratio:.1f}**", " / ".join(f"{each:,.0f}" for each in busy)]
        print(f"| {case.name} | {' | '.join(cells)} |")


# -- latency


async def pace(rate: float, seconds: float) -> tuple[list[float], float]:
    """Milliseconds of each call of callers at a fixed rate, from when it was due, and the calls
    a second that came of it."""
    taken: list[float] = []
    await asyncio.gather(*[grouped(f"channel-{n}", DATA, "status") for n in range(CALLERS)])
    started = time.perf_counter()

    async def call(number: int) -> None:
        offset = random.uniform(0, 1 / rate)
        for turn in count():
            due = started + offset + turn / rate
            if due > started + seconds:
                return
            await asyncio.sleep(due - time.perf_counter())
            await grouped(f"channel-{number}", DATA, "status")
            taken.append((time.perf_counter() - due) * 1e3)

    await asyncio.gather(*[call(number) for number in range(CALLERS)])
    return taken, len(taken) / (time.perf_counter() - started)


def report_latency(names: Sequence[str], rate: float, rounds: int, seconds: float) -> None:
    print(f"\n{CALLERS} callers, {rate:g} calls/s each, a channel each; of each round\n")
    print("| database | calls/s | ms, median | ms, 99th percentile |")
    print("|---|--:|--:|--:|")
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            with override_settings(DJANGO_SSE={"DATABASE": name, "NOTIFIER": "local"}):
                taken, reached = asyncio.run(pace(rate, seconds))
            percentiles = statistics.quantiles(taken, n=100)
            found[name].append((reached, percentiles[49], percentiles[98]))
    for name, rows in found.items():
        cells = [
            ", ".join(f"{value:,.0f}" for value in column) for column in zip(*rows, strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def versions(names: Sequence[str]) -> str:
    found = []
    for name in names:
        connection = connections[name]
        connection.ensure_connection()
        version = ".".join(map(str, connection.get_database_version()))
        found.append(f"{connection.display_name} {version}")
    return ", ".join(dict.fromkeys(found))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publishing")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each cell a round")
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--rate", type=float, default=50.0, help="of each caller, for the latency")
    parser.add_argument("--only", default="", help="part of a database's name")
    options = parser.parse_args(arguments)
    with configured(options.only.lower()) as names:
        load = os.getloadavg()[0]
        print(
            f"{platform.python_implementation()} {platform.python_version()}, Django "
            f"{django.__version__}, {versions(names)}, {platform.system()} on {processor()}, "
            f"{os.cpu_count()} cores, load {load:.1f} at the start"
        )
        if options.latency:
            report_latency(names, options.rate, options.rounds, options.seconds)
        else:
            shapes = [(1, 1), (CALLERS, 1), (CALLERS, CALLERS)]
            cases = [Case(name, *shape) for name in names for shape in shapes]
            print(f"\nMedians of {options.rounds} rounds (smallest to largest).")
            report(cases, options.rounds, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
