"""One server with three workers: as with three servers, whatever dies, nobody loses an event."""

from __future__ import annotations

import json
import os
import signal
from itertools import product

import pytest

from tests import FULL
from tests.integration.many.load import Load
from tests.integration.many.site import CLIENTS, EVENTS, carry, server
from tests.integration.many.stores import POSTGRES, SQLITE
from tests.integration.servers.client import get
from tests.looking import eventually
from tests.requirements import require
from tests.servers import KINDS, Server

pytestmark = pytest.mark.needs("nginx")

# Without this granian ends when a worker has died.
RESPAWN = {"granian": ["--respawn-failed-workers"]}


def _who_answers(running: Server) -> int | None:
    try:
        return json.loads(get(running, "/streams/process/")[1])["pid"]
    except ConnectionError:
        # The connection was in the queue of the worker that was killed.
        return None


def _wait_for_workers(running: Server, count: int) -> None:
    """Until so many answer: events are published faster than a worker begins on a busy machine."""
    pids: set[int | None] = {None}

    def all_answer() -> bool:
        pids.add(_who_answers(running))
        return len(pids) == count + 1

    eventually(all_answer, running.output)


@pytest.mark.parametrize(
    ("kind", "env"),
    list(product(["uvicorn", "granian"], [SQLITE, POSTGRES]))
    if FULL
    else [("uvicorn", SQLITE), ("granian", POSTGRES)],
    indirect=["env"],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_worker_is_killed_and_the_server_restarted_while_events_flow(
    kind: str, env: dict[str, str]
) -> None:
    require(*KINDS[kind].needs)
    events = EVENTS // 5
    with server(kind, env, "--workers", "3", *RESPAWN.get(kind, [])) as running:
        _wait_for_workers(running, 3)

        def disturb(load: Load) -> None:
            load.wait_for_pids(3)
            load.wait_for(load.total * 2 // 10)
            before = set(load.pids)
            os.kill(min(before), signal.SIGKILL)
            load.wait_for(load.total * 4 // 10)
            # A worker that begins while granian stops is never told.
            eventually(lambda: _who_answers(running) not in {None, *before}, running.output)
            assert not running.stop().killed
            running.start()

        account = carry(env, [running], events, disturb, publishers=3)
    account.check(events)
    assert account.report.connections > CLIENTS
    assert account.report.farewells
