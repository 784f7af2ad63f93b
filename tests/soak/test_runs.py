"""Hundreds of answers relayed from somebody else, through two servers of which one is killed.

With `DJANGO_SSE_FULL=1` it is 200 runs of 500 tokens each.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from tests import FULL
from tests.integration.many.site import child, result, server
from tests.integration.many.stores import OPTIONS, POSTGRES, SQLITE
from tests.looking import eventually
from tests.options import environ
from tests.servers import HOST, Server

pytestmark = pytest.mark.needs("uvicorn", "uvloop")

RUNS, TOKENS = (200, 500) if FULL else (60, 150)
# Of each run a second.
RATE = 50
LEASE = 3.0
# Readers that one process has time for.
READERS = 100
# A process that died is found within two leases; the rest is for a busy machine, s.
PATIENCE = 5.0


def code_of(run: dict[str, Any]) -> str:
    """Why a run ended: "done", or the code of its error."""
    if run["type"] == "close":
        return "done"
    return str(json.loads(run["end"])["code"])


class Soak:
    """The processes, and what came out of them."""

    def __init__(self, env: dict[str, str], stack: ExitStack) -> None:
        self.env = env | {
            "DJANGO_SETTINGS_MODULE": "tests.project.cookie_settings",
            **environ(**OPTIONS, LEASE=LEASE),
        }
        self.servers = [stack.enter_context(server("uvicorn", self.env)) for _ in range(2)]
        upstream = stack.enter_context(child(env, "-m", "tests.integration.many.upstream"))
        assert upstream.stdout is not None
        self.upstream = f"http://{HOST}:{upstream.stdout.readline().strip()}"
        self.readers = [
            stack.enter_context(child(self.env, *self._readers(first)))
            for first in range(0, RUNS, READERS)
        ]

    def _readers(self, first: int) -> Sequence[str]:
        numbers = (first, min(first + READERS, RUNS), TOKENS, RATE)
        ports = (server.port for server in self.servers)
        return (
            "-m",
            "tests.integration.many.answers",
            self.upstream,
            *map(str, [*numbers, *ports]),
        )

    def kill_one(self) -> float:
        """When half of all is sent; returns when."""
        half = RUNS * TOKENS / 2
        eventually(lambda: self.upstream_counts()["sent"] >= half, self.upstream_counts)
        self.servers[0].kill()
        return time.monotonic()

    def runs(self) -> list[dict[str, Any]]:
        return [run for each in self.readers for run in json.loads(result(each))]

    def upstream_counts(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.upstream}/count", timeout=60) as answer:
            found: dict[str, int] = json.loads(answer.read())
        return found


def check_ends(runs: list[dict[str, Any]], killed: Server, killed_at: float) -> None:
    """Each ended as it had to, and with what was told before; the readers have seen to the rest."""
    for run in runs:
        # On a busy machine one that began early is complete before the kill.
        left = {"interrupted", "done"} if run["port"] == killed.port else {"done"}
        possible = {"aborted"} if run["stopped"] else left
        if run["asked_to_stop"]:
            possible.add("aborted")
        assert code_of(run) in possible, (code_of(run), run)
        assert run["tokens"] == TOKENS or code_of(run) != "done", run
    assert {code_of(run) for run in runs} == {"done", "aborted", "interrupted"}
    interrupted = [run["ended"] - killed_at for run in runs if code_of(run) == "interrupted"]
    assert max(interrupted) < 2 * LEASE + PATIENCE


@pytest.mark.parametrize("env", [SQLITE, POSTGRES], indirect=True, ids=lambda store: store.name)
def test_every_answer_is_whole_or_says_that_it_is_not(env: dict[str, str]) -> None:
    with ExitStack() as stack:
        soak = Soak(env, stack)
        started = time.monotonic()
        killed_at = soak.kill_one()
        runs = soak.runs()
        seconds = time.monotonic() - started
        assert len(runs) == RUNS
        check_ends(runs, soak.servers[0], killed_at)
        assert soak.upstream_counts()["asked"] == RUNS
        eventually(lambda: not soak.upstream_counts()["open"], soak.upstream_counts)
    waits = sorted(run["ended"] - killed_at for run in runs if code_of(run) == "interrupted")
    connections = sum(run["connections"] for run in runs)
    assert connections > 2 * RUNS
    print(
        f"{RUNS} runs of {TOKENS} in {seconds:.1f} s: {dict(Counter(map(code_of, runs)))}; "
        f"{sum(run['tokens'] for run in runs)} tokens over {connections} connections; "
        f"interrupted {waits[0]:.1f} to {waits[-1]:.1f} s after the kill"
    )
