"""A client that is gone without a word is dropped after SEND_TIMEOUT, with all that it held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.servers.notes import Notes
from tests.integration.slow import ways
from tests.integration.slow.http2 import H2Stream
from tests.integration.slow.traffic import assert_complete, flood, read, state, take, take_to
from tests.integration.slow.ways import Reached, Way, serving
from tests.looking import eventually
from tests.proxy import Proxy
from tests.servers import Server

# Seconds: soon, and longer than a busy machine keeps a client that reads from reading.
SEND_TIMEOUT = 2.0
HEARTBEAT = 0.5
# 20 MB: more than the server, two kernels and the proxy hold.
EVENTS = 1000
LISTENING = "0A"
FAST = 2000

Proxied = Callable[[int], Proxy]

# Whose connection we can drop: the others free what is ours, and wait for their own time-outs.
_KEEPS = (Way("granian"), Way("granian", "h2c"), Way("gunicorn-asgi", "h2c"))
_GTHREAD = Way("gunicorn-gthread", handoff=False)
ABORTS = [*(way for way in [*ways.HANDOFF, *ways.HTTP2] if way not in _KEEPS), _GTHREAD]
# hypercorn logs a traceback of a connection that the kernel gave up.
LIMITED = [
    *(way for way in ways.HANDOFF if way.kind not in ("granian", "hypercorn")),
    _GTHREAD,
]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


@pytest.fixture
def reached(way: Way, notes: Notes) -> Iterator[Reached]:
    env = {"DJANGO_SSE_TEST_NOTES": str(notes.path)}
    with serving(way, env, HEARTBEAT=HEARTBEAT, SEND_TIMEOUT=SEND_TIMEOUT) as running:
        yield running


def connections(reached: Reached) -> int:
    """How many of its clients' connections the server's processes have open (proc(5))."""
    open_inodes = {each.target for each in reached.server.open_files()}
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, status, *_, inode = line.split()[:10]
        if int(local.partition(":")[2], 16) == reached.port and status != LISTENING:
            count += f"socket:[{inode}]" in open_inodes
    return count


def assert_quiet(server: Server) -> None:
    assert "Traceback" not in server.output()
    assert "ERROR" not in server.output()


@ways.over([*ways.HANDOFF, *ways.HTTP2, *ways.IN_DJANGO])
def test_its_generator_ends(way: Way, reached: Reached, notes: Notes, proxied: Proxied) -> None:
    proxy = proxied(reached.port)
    with reached.open("/streams/flooding/?name=gone", proxy=proxy) as client:
        client.next()
        assert state(reached.server)["streams"] == 1
        proxy.stall()
        notes.wait_for("gone")
        left = state(reached.server)
        assert (left["streams"], left["slots"]) == (0, 0)
        assert_quiet(reached.server)


@ways.over([*ways.HANDOFF, *ways.HTTP2, *ways.IN_DJANGO])
def test_it_comes_back_with_its_position_and_misses_nothing(
    way: Way, reached: Reached, notes: Notes, proxied: Proxied
) -> None:
    proxy = proxied(reached.port)
    with reached.open("/slow/noting/a/", proxy=proxy) as client:
        client.next()
        flood(reached.server, "a", 3)
        assert_complete(take(client, 2), 2)
        last = client.next()
        assert read(last).number == 2
        proxy.stall()
        flood(reached.server, "a", EVENTS, rate=FAST)
        notes.wait_for("a closed")
        assert state(reached.server)["waiters"] == 0
    headers = [("last-event-id", last.last_event_id)]
    with reached.open("/slow/noting/a/", headers=headers) as client:
        assert client.next().type == "stream-open"
        assert_complete(take_to(client, EVENTS - 1), EVENTS)
    assert_quiet(reached.server)


@ways.over(ABORTS)
def test_its_connection_is_dropped(
    way: Way, reached: Reached, notes: Notes, proxied: Proxied
) -> None:
    proxy = proxied(reached.port)
    with reached.open("/slow/noting/a/", proxy=proxy) as client:
        client.next()
        eventually(lambda: connections(reached) == 1, lambda: connections(reached))
        proxy.stall()
        flood(reached.server, "a", EVENTS, rate=FAST)
        notes.wait_for("a closed")
        # While the client and the proxy still hold their ends.
        eventually(lambda: connections(reached) == 0, lambda: connections(reached))
    assert_quiet(reached.server)


@ways.over([way for way in ways.HTTP2 if way.kind != "granian"])
def test_a_stream_that_nobody_reads_is_reset_and_its_connection_goes_on(
    way: Way, reached: Reached, notes: Notes
) -> None:
    with reached.open("/slow/noting/a/", narrow=True) as client:
        client.next()
        flood(reached.server, "a", EVENTS, rate=FAST)
        notes.wait_for("a closed")
        assert isinstance(client, H2Stream)
        while client.read():
            pass
        assert client.reset is not None
    assert_quiet(reached.server)


@ways.over(LIMITED)
def test_the_kernel_knows_how_long_a_client_may_be_silent(way: Way, reached: Reached) -> None:
    with reached.open("/slow/noting/a/") as client:
        client.next()
        assert state(reached.server)["silence_limits"] == [(SEND_TIMEOUT + HEARTBEAT) * 1000]
    with reached.open("/async_generator/") as client:
        while client.read():
            pass

        def limits() -> object:
            return state(reached.server)["silence_limits"]

        # The connection is still open, for another request that is no stream. (gunicorn's threads
        # see a little later that the first client has left.)
        eventually(lambda: limits() == [], limits)
