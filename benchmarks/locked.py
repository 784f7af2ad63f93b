"""The cost of a channel whose row is locked, and of one to which many publish.

    python -m benchmarks.locked [--pairs 5] [--seconds 4] [--against CHECKOUT] [--only postgres]

Two measurements on PostgreSQL and MariaDB, in interleaved pairs:

- **held**: a process publishes with `apublish` from 50 callers, each to its own channel ten times a
  second, while another transaction has locked the row of one more channel, to which the same
  process publishes, too. Printed is the 99th percentile of the other channels' latency, with and
  without that lock.
- **hot**: four processes publish to one channel as fast as they can, with `apublish` from eight
  callers each, or with `publish` from one thread each; or (**shared**) with `apublish` from 50
  callers each to 50 channels, which all processes publish to. Printed are the publishes a second of
  all of them, and the slowest call; with `--against`, of another checkout of this repository, too.

The benchmark makes its own databases, where `tests.databases` says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import django
from django.conf import settings

from tests import databases

CALLERS = 50
RATE = 10.0
PROCESSES = 4
HOT_CALLERS = 8
# Seconds before it is measured: threads start and connect.
WARM_UP = 2.0


def set_up(config: dict[str, Any]) -> None:
    if config["ENGINE"].endswith("mysql"):
        databases.use_pymysql()
    settings.configure(
        DATABASES={"default": config},
        INSTALLED_APPS=["django_sse"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        SECRET_KEY="only for this",
        DJANGO_SSE={"NOTIFIER": "local"},
    )
    django.setup()


# -- in the processes that publish: a line on stdin starts them, a line on stdout is what they found


def percentile(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


async def pace(seconds: float) -> dict[str, float]:
    """The latency of callers at a fixed rate, in milliseconds from when each call was due."""
    from django_sse import apublish

    taken: list[float] = []
    stuck = asyncio.ensure_future(apublish("held", "x"))
    await asyncio.gather(*[apublish(f"channel-{n}", "x") for n in range(CALLERS)])
    started = time.perf_counter() + WARM_UP

    async def call(number: int) -> None:
        due = started - WARM_UP + number / CALLERS / RATE
        while due < started + seconds:
            await asyncio.sleep(due - time.perf_counter())
            await apublish(f"channel-{number}", "x")
            if due >= started:
                taken.append((time.perf_counter() - due) * 1e3)
            due += 1 / RATE

    await asyncio.gather(*[call(number) for number in range(CALLERS)])
    held = not stuck.done()
    stuck.cancel()
    return {"median": statistics.median(taken), "p99": percentile(taken), "held": float(held)}


async def hammer(seconds: float, callers: int, channels: int) -> dict[str, float]:
    from django_sse import apublish

    taken: list[float] = []
    starts = time.perf_counter() + WARM_UP
    ends = starts + seconds

    async def call(number: int) -> None:
        while (began := time.perf_counter()) < ends:
            await apublish(f"hot-{number % channels}", "x")
            if began >= starts:
                taken.append((time.perf_counter() - began) * 1e3)

    await asyncio.gather(*[call(number) for number in range(callers)])
    return {"rate": len(taken) / seconds, "p99": percentile(taken), "slowest": max(taken)}


def hammer_in_thread(seconds: float) -> dict[str, float]:
    from django_sse import publish

    taken: list[float] = []
    starts = time.perf_counter() + WARM_UP
    ends = starts + seconds
    while (began := time.perf_counter()) < ends:
        publish("hot-0", "x")
        if began >= starts:
            taken.append((time.perf_counter() - began) * 1e3)
    return {"rate": len(taken) / seconds, "p99": percentile(taken), "slowest": max(taken)}


def work(kind: str, seconds: float) -> dict[str, float]:
    if kind == "publish":
        return hammer_in_thread(seconds)
    if kind == "held":
        return asyncio.run(pace(seconds))
    callers, channels = (HOT_CALLERS, 1) if kind == "apublish" else (CALLERS, CALLERS)
    return asyncio.run(hammer(seconds, callers, channels))


def serve(config: str, kind: str, seconds: str) -> None:
    set_up(json.loads(config))
    from django_sse import publish

    publish("warm", "x")
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(work(kind, float(seconds))), flush=True)


# -- in the process that compares


def run(
    config: dict[str, Any], checkout: str, kind: str, processes: int, seconds: float
) -> list[dict[str, float]]:
    """Return the results of several processes that began together."""
    command = [sys.executable, __file__, "--serve", json.dumps(config), kind, str(seconds)]
    env = {**os.environ, "PYTHONPATH": checkout}
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(command, env=env, cwd=checkout, stdin=pipe, stdout=pipe, text=True)
        for _ in range(processes)
    ]
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in started:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    return [json.loads(each.communicate()[0]) for each in started]


@contextmanager
def held(channel: str) -> Iterator[None]:
    """A transaction has locked the channel's row."""
    from django.db import connection, transaction

    from django_sse.models import Channel

    locked, go = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Channel.objects.select_for_update().get(name=channel)
            locked.set()
            go.wait()
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait()
    try:
        yield
    finally:
        go.set()
        thread.join()


def compare_held(config: dict[str, Any], here: str, pairs: int, seconds: float) -> None:
    without: list[float] = []
    with_it: list[float] = []
    for _ in range(pairs):
        (found,) = run(config, here, "held", 1, seconds)
        without.append(found["p99"])
        with held("held"):
            (found,) = run(config, here, "held", 1, seconds)
        assert found["held"], "the row was not locked"
        with_it.append(found["p99"])
    print(f"  others' p99, ms, row free: {cell(without)}; row locked: {cell(with_it)}")
    ratio = statistics.median(b / a for a, b in zip(without, with_it, strict=True))
    print(f"  median of the pairs' ratios: {ratio:.2f}", flush=True)


def compare_hot(config: dict[str, Any], checkouts: list[str], pairs: int, seconds: float) -> None:
    for kind in ("apublish", "publish", "shared"):
        found: dict[str, list[list[dict[str, float]]]] = {each: [] for each in checkouts}
        for _ in range(pairs):
            for checkout in checkouts:
                found[checkout].append(run(config, checkout, kind, PROCESSES, seconds))
        for checkout, rounds in found.items():
            rates = [sum(each["rate"] for each in its) for its in rounds]
            p99 = [max(each["p99"] for each in its) for its in rounds]
            slowest = [max(each["slowest"] for each in its) for its in rounds]
            least = min(
                each["rate"] / sum(e["rate"] for e in its) for its in rounds for each in its
            )
            print(
                f"  {kind}, {checkout}: {cell(rates)} /s; p99 of the slowest process, ms: "
                f"{cell(p99)}; slowest call, ms: {cell(slowest)}; least share {least:.0%}",
                flush=True,
            )


def cell(values: list[float]) -> str:
    return f"{statistics.median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:5])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.locked")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--against", help="another checkout, for the hot row")
    parser.add_argument("--only", default="", help="part of a database's name")
    options = parser.parse_args()
    here = os.getcwd()
    checkouts = [here, *([options.against] if options.against else [])]
    measure(checkouts, options.only, options.pairs, options.seconds)


def measure(checkouts: list[str], only: str, pairs: int, seconds: float) -> None:
    from django.core.management import call_command
    from django.db import connections

    urls = {"postgres": databases.POSTGRES_URL, "mariadb": databases.MARIADB_URL}
    with ExitStack() as stack:
        made = {
            name: databases.config(stack.enter_context(databases.fresh(url)))
            for name, url in urls.items()
            if only in name
        }
        set_up(next(iter(made.values())))
        for name, config in made.items():
            configured = connections.configure_settings({"default": config})
            connections.databases["default"] = configured["default"]
            connections["default"] = connections.create_connection("default")
            call_command("migrate", verbosity=0)
            print(f"{name}, load {os.getloadavg()[0]:.1f}, {pairs} pairs of {seconds:g} s")
            compare_held(config, checkouts[0], pairs, seconds)
            compare_hot(config, checkouts, pairs, seconds)
            connections["default"].close()


if __name__ == "__main__":
    main()
