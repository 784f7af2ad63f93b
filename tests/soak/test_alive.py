"""Random faults that all processes share make none of them look dead.

With `DJANGO_SSE_FULL=1` on both databases and for minutes.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import FULL
from tests.integration.many.sides import Side, end_of, go_by
from tests.integration.many.stores import MARIADB, POSTGRES
from tests.integration.servers.answers import END, Client, tokens
from tests.integration.servers.environment import environment
from tests.integration.servers.notes import Notes
from tests.proxy import Proxy

ROUNDS = 30 if FULL else 3
LEASE = 2.0
OPTIONS = {"LEASE": LEASE, "UNWATCHED": 2 * LEASE, "GRACE": 0.0, "SAFETY_INTERVAL": 0.3}
COUNT = 120
ANSWER = f"/answer/?count={COUNT}&pause=0.05&name=whole"
# In leases: the longest time from when the first process has the database again to the last.
APART = 0.4

pytestmark = [
    pytest.mark.needs("uvicorn"),
    pytest.mark.timeout(900),
    pytest.mark.parametrize(
        "env", [POSTGRES, MARIADB] if FULL else [POSTGRES], indirect=True, ids=lambda s: s.name
    ),
]


@pytest.fixture
def sides(
    env: dict[str, str], tmp_path: Path, proxied: Callable[[int], Proxy]
) -> Iterator[Sequence[Side]]:
    env = env | environment(Notes(tmp_path / "notes"), **OPTIONS)
    with ExitStack() as stack:
        found = [Side(env, proxied) for _ in range(3)]
        for side in found:
            stack.enter_context(side.server)
        yield found


def befall(chance: random.Random, sides: Sequence[Side]) -> str:
    """Cause a fault of up to three leases that begins and ends at other moments for each side."""
    how = chance.choice(["refuses", "stalls", "stopped"])
    for going in (True, False):
        for side in chance.sample(sides, len(sides)):
            if how == "stopped":
                side.server.send_signal(signal.SIGSTOP if going else signal.SIGCONT)
            elif going:
                side.lose_database(how)
            else:
                side.find_database()
            go_by(chance.uniform(0, APART * LEASE / len(sides)))
        go_by(chance.uniform(0, 3 * LEASE) if going else 0)
    return how


def test_faults_of_all_processes_end_no_run_of_a_live_one(sides: Sequence[Side]) -> None:
    chance, client = random.Random(7), Client()
    befell = []
    for _ in range(ROUNDS):
        addresses = [side.begin(client, ANSWER) for side in sides]
        befell.append(befall(chance, sides))
        for side in sides:
            for address in addresses:
                texts, last = end_of(client, side, address)
                assert (texts, (last.type, last.data)) == (tokens(COUNT), END), befell
    print(f"{ROUNDS * len(sides)} runs whole through {befell}")
