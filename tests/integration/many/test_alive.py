"""Which processes are taken for dead: three servers, each with its own proxy to one database."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.many.sides import Side, end_of, go_by, state_of
from tests.integration.many.stores import MARIADB, POSTGRES
from tests.integration.servers.answers import END, ENDLESS, Client, code, tokens
from tests.integration.servers.environment import environment
from tests.integration.servers.notes import Notes
from tests.looking import eventually
from tests.proxy import Proxy
from tests.requirements import in_full

LEASE = 1.0
OPTIONS = {"LEASE": LEASE, "UNWATCHED": 3600.0, "GRACE": 0.0, "SAFETY_INTERVAL": 0.3}
# An answer of some leases, so that it outlasts an outage of three.
COUNT = 80
ANSWER = f"count={COUNT}&pause=0.05"
# Seconds more for a busy machine.
PATIENCE = 10.0

pytestmark = [
    pytest.mark.needs("uvicorn"),
    pytest.mark.parametrize(
        "env",
        [
            pytest.param(POSTGRES, id="postgres"),
            pytest.param(MARIADB, id="mariadb", marks=in_full),
        ],
        indirect=True,
    ),
]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def sides(
    request: pytest.FixtureRequest,
    env: dict[str, str],
    notes: Notes,
    proxied: Callable[[int], Proxy],
) -> Iterator[Sequence[Side]]:
    """Three servers, or as many as the test asks for."""
    env = env | environment(notes, **OPTIONS)
    with ExitStack() as stack:
        found = [Side(env, proxied) for _ in range(getattr(request, "param", 3))]
        for side in found:
            stack.enter_context(side.server)
        yield found


@pytest.mark.parametrize("how", ["refuses", pytest.param("stalls", marks=in_full)])
def test_after_an_outage_longer_than_a_lease_only_runs_of_dead_processes_end(
    how: str, sides: Sequence[Side], client: Client, notes: Notes
) -> None:
    *living, victim = sides
    answers = [side.begin(client, f"/answer/?{ANSWER}&name=whole") for side in living]
    lost = victim.begin(client, f"/answer/?{ENDLESS}&name=lost")
    for side in sides:
        side.lose_database(how)
    go_by(1.5 * LEASE)
    victim.server.kill()
    # As its kernel does: otherwise the database would keep the locks of the victim's transaction.
    victim.lose_database("refuses")
    go_by(1.5 * LEASE)
    # One server is back before the other, and gets a request for the other's run.
    living[0].find_database()
    assert state_of(client, living[0], answers[1]) == "running"
    with client.stream(living[0].server, answers[1]) as stream:
        stream.take(3)
    living[1].find_database()
    back = time.monotonic()
    _, last = end_of(client, living[0], lost)
    found = time.monotonic() - back
    assert code(last) == "interrupted"
    for address in answers:
        texts, last = end_of(client, living[0], address)
        assert (texts, (last.type, last.data)) == (tokens(COUNT), END)
    notes.wait_for("whole", 2)
    print(f"{how}: ended {found / LEASE:.1f} leases after the database was back")
    assert found < 2 * LEASE + PATIENCE


@pytest.mark.parametrize("sides", [2], indirect=True)
def test_processes_that_were_all_stopped_end_no_run_of_each_other(
    sides: Sequence[Side], client: Client, notes: Notes
) -> None:
    """On a suspended machine, the process that looks at the leases goes on first."""
    runner, looks = sides
    address = runner.begin(client, f"/answer/?{ANSWER}&name=whole")
    with client.stream(looks.server, address) as stream:
        stream.take(3)
        for side in (runner, looks):
            side.server.send_signal(signal.SIGSTOP)
        go_by(2 * LEASE)
        looks.server.send_signal(signal.SIGCONT)
        assert state_of(client, looks, address) == "running"
        runner.server.send_signal(signal.SIGCONT)
        texts, last = end_of(client, looks, address)
    assert (texts, (last.type, last.data)) == (tokens(COUNT), END)
    assert notes.count("whole") == 1


@pytest.mark.parametrize("sides", [2], indirect=True)
def test_a_process_that_was_stopped_for_longer_than_a_lease_loses_its_runs_and_goes_on(
    sides: Sequence[Side], client: Client, notes: Notes
) -> None:
    runner, other = sides
    # It is stopped between two tokens: in an append it would have locked the run's channel.
    address = runner.begin(client, "/answer/?count=100000&pause=0.5&name=lost")
    with client.stream(other.server, address) as waiting:
        runner.server.send_signal(signal.SIGSTOP)
        *_, last = waiting
    assert code(last) == "interrupted"
    assert notes.count("lost") == 0
    runner.server.send_signal(signal.SIGCONT)
    notes.wait_for("lost")
    said = "taken this one for dead"
    eventually(lambda: said in runner.server.output(), runner.server.output)
    again = runner.begin(client, f"/answer/?{ANSWER}&name=again")
    texts, last = end_of(client, other, again)
    assert (texts, (last.type, last.data)) == (tokens(COUNT), END)
