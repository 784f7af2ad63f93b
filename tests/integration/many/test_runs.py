"""Answers that survive their process, or end with it and say so: two servers, one database."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import FULL
from tests.integration.many.stores import POSTGRES, SQLITE
from tests.integration.servers.answers import END, ENDLESS, Client, code, data, stop_of, tokens
from tests.integration.servers.environment import environment
from tests.integration.servers.kinds import HANDOFF
from tests.integration.servers.notes import Notes
from tests.requirements import require
from tests.servers import IN_DJANGO, KINDS, Server

# With the lifespan protocol: it is what tells granian to wait.
ARGS = {"granian": ("--interface", "asgi")}
LEASES = {"LEASE": 1.5, "UNWATCHED": 1.0, "GRACE": 30.0, "SAFETY_INTERVAL": 600}
STORES = pytest.mark.parametrize("env", [SQLITE, POSTGRES], indirect=True, ids=lambda s: s.name)
ON_SQLITE = pytest.mark.parametrize("env", [SQLITE], indirect=True, ids=lambda s: s.name)
_KINDS = ["uvicorn", "daphne", "granian", "gunicorn-gthread"]
EACH = pytest.mark.parametrize("kind", _KINDS if FULL else ["uvicorn"])
STOPPED = pytest.mark.parametrize(
    "kind", [*HANDOFF, "gunicorn-gthread"] if FULL else ["daphne", "gunicorn-gthread"]
)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """What the generators write down."""
    return Notes(tmp_path / "notes")


@contextmanager
def two_servers(
    kind: str,
    env: dict[str, str],
    notes: Notes,
    args: Mapping[str, Sequence[str]] = ARGS,
    **options: object,
) -> Iterator[tuple[Server, Server]]:
    """Two processes on one database."""
    require(*KINDS[kind].needs)
    env = env | environment(notes, **LEASES | options)
    with ExitStack() as stack:
        database = Path(env["DJANGO_SSE_TEST_DB"])
        first, second = (
            stack.enter_context(Server(kind, env=env, database=database, args=args.get(kind, ())))
            for _ in range(2)
        )
        yield first, second


@STORES
@EACH
def test_a_stop_reaches_the_generator_in_another_process(
    kind: str, env: dict[str, str], notes: Notes, client: Client
) -> None:
    with two_servers(kind, env, notes) as (first, second):
        stream, address = client.start(first, f"/answer/?{ENDLESS}&name=run")
        with stream, client.stream(second, address) as elsewhere:
            assert data(elsewhere.take(5)) == tokens(4)
            assert client.post(second, stop_of(address)) == {"stopped": True}
            notes.wait_for("run")
            for each in (stream, elsewhere):
                *_, last = each
                assert code(last) == "aborted"


@STORES
@EACH
def test_a_run_whose_process_was_killed_is_ended_as_interrupted(
    kind: str, env: dict[str, str], notes: Notes, client: Client
) -> None:
    with two_servers(kind, env, notes) as (first, second):
        stream, address = client.start(first, f"/answer/?{ENDLESS}&name=run")
        with stream, client.stream(second, address) as waiting:
            stream.take(5)
            waiting.take(5)
            first.kill()
            # Without asking for anything.
            *_, last = waiting
            assert code(last) == "interrupted"
        with client.stream(second, address) as replay:
            *_, again = replay
        assert again == last
        assert client.status(second, address)["state"] == "error"
    assert notes.count("run") == 0


@ON_SQLITE
@EACH
def test_one_that_nobody_waited_for_is_ended_by_who_asks_for_it(
    kind: str, env: dict[str, str], notes: Notes, client: Client
) -> None:
    with two_servers(kind, env, notes) as (first, second):
        stream, address = client.start(first, f"/answer/?{ENDLESS}&name=run")
        with stream:
            stream.take(2)
        first.kill()
        with client.stream(second, address) as replay:
            *_, last = replay
        assert code(last) == "interrupted"


@ON_SQLITE
@EACH
def test_only_a_run_that_is_for_its_clients_ends_when_the_last_has_left(
    kind: str, env: dict[str, str], notes: Notes, client: Client
) -> None:
    with two_servers(kind, env, notes) as (first, second):
        stream, address = client.start(first, "/connected/?name=run")
        with stream:
            seen = stream.take(5)
        # Watched from another process for longer than it may be alone.
        with client.stream(second, address, seen[-1].last_event_id) as elsewhere:
            later = elsewhere.take(30)
            assert notes.count("run") == 0
        notes.wait_for("run")
        with client.stream(second, address) as replay:
            *_, last = replay
        assert code(last) == "aborted"
        assert data(seen) + data(later) == tokens(34)


# -- the server is told to stop


@ON_SQLITE
@STOPPED
def test_a_server_that_stops_lets_its_runs_finish_while_their_streams_move(
    kind: str, env: dict[str, str], notes: Notes, client: Client
) -> None:
    with two_servers(kind, env, notes) as (first, second):
        stream, address = client.start(first, "/answer/?count=40&pause=0.05&name=run")
        with stream:
            seen = stream.take(3)
            first.send_signal(signal.SIGTERM)
            *rest, farewell = stream
        assert farewell.type == "stream-retry"
        position = (rest or seen)[-1].last_event_id
        with client.stream(second, address, position) as elsewhere:
            later = list(elsewhere)
        assert data([*seen, *rest, *later]) == tokens(40)
        assert (later[-1].type, later[-1].data) == END
        assert not first.stop().killed
        assert notes.count("run") == 1


@ON_SQLITE
@STOPPED
def test_what_does_not_finish_in_time_is_interrupted_and_says_so(
    kind: str, env: dict[str, str], notes: Notes, client: Client
) -> None:
    with two_servers(kind, env, notes, GRACE=0.5, LEASE=60.0) as (first, second):
        stream, address = client.start(first, f"/answer/?{ENDLESS}&name=run")
        with stream:
            stream.take(3)
            stopped = first.stop()
        assert not stopped.killed
        notes.wait_for("run")
        # Not by its lease: that is long.
        with client.stream(second, address) as replay:
            *_, last = replay
        assert code(last) == "interrupted"


@ON_SQLITE
@pytest.mark.parametrize("kind", [f"gunicorn-asgi{IN_DJANGO}"])
def test_where_the_server_cannot_be_kept_waiting_they_are_interrupted_with_its_loop(
    kind: str, env: dict[str, str], notes: Notes, client: Client
) -> None:
    with two_servers(kind, env, notes, {}, GRACE=600.0, LEASE=600.0) as (first, second):
        stream, address = client.start(first, f"/answer/?{ENDLESS}&name=run")
        with stream:
            stream.take(3)
            assert not first.stop().killed
        notes.wait_for("run")
        with client.stream(second, address) as replay:
            *_, last = replay
        assert code(last) == "interrupted"


# (gunicorn's main process keeps a second SIGTERM to itself.)
@ON_SQLITE
@pytest.mark.parametrize("kind", ["uvicorn", "daphne"])
def test_a_second_signal_does_not_wait_for_runs(
    kind: str, env: dict[str, str], notes: Notes, client: Client
) -> None:
    with two_servers(kind, env, notes, GRACE=600.0, LEASE=600.0) as (first, second):
        stream, address = client.start(first, f"/answer/?{ENDLESS}&name=run")
        with stream:
            first.send_signal(signal.SIGTERM)
            # Its streams have ended: it was told. The run goes on, for longer than one word takes.
            list(stream)
        with client.stream(second, address) as elsewhere:
            elsewhere.take(40)
            assert not first.stop().killed
            *_, last = elsewhere
        assert code(last) == "interrupted"
