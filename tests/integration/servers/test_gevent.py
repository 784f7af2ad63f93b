"""gunicorn's gevent worker: a stream has a greenlet, and our event loops have threads."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.integration.servers.client import Stream, get
from tests.integration.servers.environment import environment
from tests.integration.servers.kinds import on
from tests.integration.servers.notes import Notes
from tests.looking import eventually
from tests.servers import Server

pytestmark = pytest.mark.needs("gunicorn", "gevent")

OPTIONS = {"HEARTBEAT": 600.0}
STREAMS = 50
EVENTS = 100

gevent = on("gunicorn-gevent")


@gevent
def test_many_greenlets_stream_and_publish_at_once(server: Server, name: str) -> None:
    def publish(number: int) -> int:
        return get(server, f"/publish/{name}/", method="POST", data=b"%d" % number)[0]

    with ExitStack() as stack:
        streams = [
            stack.enter_context(Stream(server, f"/channels_sync/{name}/")) for _ in range(STREAMS)
        ]
        for stream in streams:
            assert stream.next().type == "stream-open"
        with ThreadPoolExecutor(10) as pool:
            assert set(pool.map(publish, range(EVENTS))) == {200}
        first, *others = ([event.data for event in each.take(EVENTS)] for each in streams)
        assert sorted(first, key=int) == [str(number) for number in range(EVENTS)]
        assert others == [first] * (STREAMS - 1)


@gevent
@pytest.mark.parametrize("reset", [False, True], ids=["orderly", "crash"])
def test_a_silent_stream_ends_when_its_client_leaves(
    server: Server, notes: Notes, name: str, reset: bool
) -> None:
    with Stream(server, f"/slow/noting_sync/{name}/", reset=reset) as stream:
        assert stream.next().type == "stream-open"
        assert notes.count(f"{name} closed") == 0
    notes.wait_for(f"{name} closed")


def test_a_client_that_reads_nothing_is_dropped(
    serve: Callable[..., Server], notes: Notes, name: str
) -> None:
    env = environment(notes, SEND_TIMEOUT=2.0, HEARTBEAT=0.5)
    server = serve("gunicorn-gevent", env=env)
    path = f"/streams/flooding_sync/?name={name}"

    def limited() -> list[int]:
        found: list[int] = json.loads(get(server, "/slow/state/")[1])["silence_limits"]
        return found

    with Stream(server, path, receive_buffer=4096) as stalled:
        stalled.read()
        assert len(limited()) == 1
        notes.wait_for(name)
        # While the client still holds its end.
        eventually(lambda: limited() == [], limited)


@gevent
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/async_generator/"), ("POST", "/answer/"), ("POST", "/sync_answer/")],
)
def test_a_view_that_needs_asgirefs_event_loop_says_what_to_do(
    server: Server, method: str, path: str
) -> None:
    before = len(server.output())
    assert get(server, path, method=method)[0] == 500
    assert "ImproperlyConfigured" in server.output()[before:]
    assert "--worker-class gthread" in server.output()[before:]


def test_its_streams_end_when_it_is_told_to_stop(
    serve: Callable[..., Server], notes: Notes, name: str
) -> None:
    server = serve("gunicorn-gevent", env=environment(notes))
    with Stream(server, f"/channels_sync/{name}/") as stream:
        stream.next()
        stopped = server.stop()
        *_, farewell = stream
    assert (farewell.type, farewell.data) == ("stream-retry", "{}")
    assert not stopped.killed
    assert "Traceback" not in server.output()
