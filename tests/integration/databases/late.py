"""Runs whose COMMITs, or their answers, come late or never, while another process ends some."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import pytest
from django.db import connections

from django_sse.log import get_log
from django_sse.models import Run
from django_sse.process import database
from django_sse.runs import store
from django_sse.runs.task import RunTask
from tests.commits import CommitProxy, Fate
from tests.unit.hub.support import texts
from tests.unit.log.support import as_default, everything, start_python
from tests.unit.runs.support import atexts, begin, terminals, watching

# Reads ids of runs and stops each. Tries again while the log does not answer, as a client does.
STOPPER = """
from django_sse.runs import ends, store
from django_sse.exceptions import LogUnavailable
print("ready", flush=True)
for line in sys.stdin:
    stopped = None
    while stopped is None:
        try:
            stopped = ends.stop(store.find(line.strip()))
        except LogUnavailable:
            pass
    print(line.strip(), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Trouble:
    """The number of runs, the tokens of each, and the longest delay of a COMMIT."""

    runs: int
    tokens: int
    latest: float
    pause: float
    """Seconds between two tokens of a run, at most."""
    shares: tuple[float, float, float] = (0.15, 0.05, 0.05)
    """The shares of COMMITs that are made late without an answer, never made, answered late."""
    readers: int = 3
    """The number of runs that have a client."""
    seed: int = 1


def fate_of(chance: random.Random, trouble: Trouble) -> Fate | None:
    """Return the fate of the next COMMIT."""
    which, delay = chance.random(), chance.uniform(0, trouble.latest)
    fates = Fate(delay), Fate(delay, arrives=False), Fate(delay, is_answered=True)
    for share, fate in zip(trouble.shares, fates, strict=True):
        if which < share:
            return fate
        which -= share
    return None


@dataclass(slots=True)
class Outcome:
    """The result of a test."""

    states: Counter[str]
    fates: Counter[str]
    tokens: int
    seconds: float


async def answer(trouble: Trouble, number: int, go: asyncio.Event) -> AsyncIterator[str]:
    chance = random.Random(f"{trouble.seed} {number}")
    for token in range(trouble.tokens):
        yield f"token {token}"
        await go.wait()
        await asyncio.sleep(chance.uniform(0, trouble.pause))


@pytest.fixture
def commits(database: str, transactional_db: None, live: None) -> Iterator[CommitProxy]:
    """The proxy through which all queries of the test go."""
    direct = connections["default"].settings_dict
    with (
        CommitProxy(int(direct["PORT"])) as proxy,
        as_default({**direct, "PORT": str(proxy.port)}),
    ):
        yield proxy
        proxy.fate = lambda: None


async def runs_in(trouble: Trouble, commits: CommitProxy) -> Outcome:
    """Begin the runs, disturb their COMMITs, and check each of them."""
    go = asyncio.Event()
    # Before the faults: a run that cannot begin is refused, which another test shows.
    tasks = await asyncio.gather(
        *[
            begin(answer(trouble, number, go), owner=f"user:{number}")
            for number in range(trouble.runs)
        ]
    )
    readers = [asyncio.create_task(read(task.run)) for task in tasks[: trouble.readers]]
    chance = random.Random(trouble.seed)
    with start_python(STOPPER) as stopper:
        assert stopper.stdout is not None
        await asyncio.to_thread(stopper.stdout.readline)
        commits.fate = lambda: fate_of(chance, trouble)
        started = asyncio.get_running_loop().time()
        go.set()
        some = tasks[::3]
        assert await stop_some(stopper, some, trouble) == len(some)
        await asyncio.gather(*[task.ended() for task in tasks])
    seconds = asyncio.get_running_loop().time() - started
    commits.fate = lambda: None
    for task, got in zip(tasks, await asyncio.gather(*readers), strict=False):
        assert got == await atexts(task.run)
    # In one call, because each call opens its own connection.
    checked = await database.run(lambda: [check(task.run, trouble) for task in tasks])
    states = Counter(state for state, _ in checked)
    return Outcome(states, commits.fates, sum(tokens for _, tokens in checked), seconds)


async def read(run: Run) -> list[str]:
    async with watching(run) as client:
        await client.opened()
        return texts(await client.rest())


async def stop_some(
    stopper: subprocess.Popen[str], tasks: Sequence[RunTask], trouble: Trouble
) -> int:
    """Let another process end these runs, some while they append events."""
    chance = random.Random(trouble.seed)
    assert stopper.stdin is not None
    for task in tasks:
        await asyncio.sleep(chance.uniform(0, 2 * trouble.pause * trouble.tokens / len(tasks)))
        await asyncio.to_thread(print, task.run.pk, file=stopper.stdin, flush=True)
    out, err = await asyncio.to_thread(stopper.communicate)
    assert stopper.returncode == 0, err
    return len(out.split())


def check(run: Run, trouble: Trouble) -> tuple[str, int]:
    """Check that each token is there once and in order, with one end, and that the row agrees.

    Returns how it ended, and the number of tokens.
    """
    *tokens, last = records = everything(get_log(), run.channel)
    assert terminals(records) == [last], run
    assert [each.seq for each in records] == list(range(1, len(records) + 1)), run
    assert [each.data for each in tokens] == [f"token {n}" for n in range(len(tokens))], run
    said = "done" if last.data == "[DONE]" else json.loads(last.data)["code"]
    assert said == "aborted" or (said == "done" and len(tokens) == trouble.tokens), run
    assert store.state(run) == (said, len(records))
    found = store.find(run.pk)
    assert found is not None
    assert found.ended is not None, run
    assert found.slot is None, run
    return said, len(tokens)
