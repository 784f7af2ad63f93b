"""A server that is told to stop ends its streams, and then stops."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from signal import SIGINT, SIGQUIT, SIGTERM
from typing import Any

import pytest

from django_sse.servers import signals
from django_sse.streams import pulse
from tests import FULL, ROOT
from tests.integration.servers.answers import Client
from tests.integration.servers.client import Stream, get
from tests.integration.servers.environment import environment
from tests.integration.servers.kinds import HANDOFF, WITHOUT_HANDOFF
from tests.integration.servers.notes import Notes
from tests.looking import eventually
from tests.project import exiting_server
from tests.servers import IN_DJANGO, KINDS, Kind, Server, Site, Stopped

Serve = Callable[..., Server]

# With a middleware that wraps, on demand: then a stream stays in Django's hands.
SITE = Site("tests.project.middleware_settings", "tests.project", "DJANGO_SSE_TEST_DB", "/ok/")
# hypercorn's worker gets no signal: that takes the handoff.
IN_PROCESS = tuple(kind for kind in WITHOUT_HANDOFF if kind != f"hypercorn{IN_DJANGO}")
KIND = (*HANDOFF, *IN_PROCESS, "gunicorn-gthread", "granian-wsgi")
GUNICORN = ("gunicorn-asgi", "gunicorn-gthread")
MANY_WORKERS = ("uvicorn", "uvicorn-asyncio", "granian", "hypercorn", *GUNICORN)
TWO_WORKERS = ("--workers", "2")
# The aim is 2 s, which a busy machine may miss.
SOON = 10.0
PATHS = (
    "/channels/{name}/",
    "/streams/waiting/?name={name}",
    "/streams/ticking_sync/?name={name}",
    "/streams/waiting/?name={name}&wrap=1",
    "/channels/{name}/?wrap=1",
)


def paths(name: str, count: int) -> list[str]:
    """What ``count`` clients ask for: some of everything, and two generators in threads of ten."""
    return [PATHS[number % len(PATHS)].format(name=name) for number in range(count)]


@contextmanager
def crowd(server: Server, notes: Notes, name: str, count: int) -> Iterator[list[Stream]]:
    """So many open streams, each past its first event. At the end of the block they must have been
    told to come back, each ended cleanly, and every generator must have ended."""
    wanted = paths(name, count)
    with ExitStack() as stack:
        streams = [stack.enter_context(Stream(server, path)) for path in wanted]
        for stream in streams:
            stream.next()
        assert notes.count(name) == 0
        yield streams
        retries = {assert_told_to_come_back(stream) for stream in streams}
    assert len(retries) > 1
    notes.wait_for(name, times=sum("/streams/" in path for path in wanted))


def assert_told_to_come_back(stream: Stream) -> int:
    # A body that is cut raises here.
    *_, farewell = stream
    assert (farewell.type, farewell.data) == ("stream-retry", "{}")
    assert stream.retry is not None and 3000 <= stream.retry <= 7000
    return stream.retry


def assert_soon(server: Server, stopped: Stopped, what: str) -> None:
    print(f"STOP {server.kind} {what}: {stopped.seconds:.2f} s")
    assert not stopped.killed
    assert stopped.seconds < SOON
    if IN_DJANGO not in server.kind:
        # (Django 5.2 has a traceback of its own for clients that daphne has sent away.)
        assert "Traceback" not in server.output()


def size(kind: str) -> int:
    # gunicorn has a thread for each, and one more for the request that asks for the notes.
    return 15 if kind == "gunicorn-gthread" else 100 if FULL else 40


# Each main loop has one way to hear of SIGINT.
INTERRUPTED = KIND if FULL else ("uvicorn", "granian", "runserver-daphne", "gunicorn-gthread")


@pytest.mark.parametrize(
    ("kind", "signum"),
    [*((kind, SIGTERM) for kind in KIND), *((kind, SIGINT) for kind in INTERRUPTED)],
)
def test_it_ends_its_streams_cleanly_and_stops(
    kind: str, signum: signal.Signals, serve: Serve, notes: Notes, name: str
) -> None:
    server = serve(kind, site=SITE, env=environment(notes))
    with crowd(server, notes, name, size(kind)):
        stopped = server.stop(signum)
    assert_soon(server, stopped, signum.name)


# (The next test has SIGINT.)
@pytest.mark.parametrize("signum", [SIGTERM, SIGINT] if FULL else [SIGTERM])
@pytest.mark.parametrize("kind", [*MANY_WORKERS, "granian-wsgi"])
def test_so_do_two_workers(
    kind: str, signum: signal.Signals, serve: Serve, notes: Notes, name: str
) -> None:
    server = serve(kind, site=SITE, env=environment(notes), args=TWO_WORKERS)
    # granian's second worker has its parent's handlers while it begins, and loses the signal.
    until_both_answer(server)
    with crowd(server, notes, name, size(kind)):
        stopped = server.stop(signum)
    assert_soon(server, stopped, f"{signum.name}, 2 workers")


@pytest.mark.parametrize("kind", GUNICORN)
def test_sigquit_too(kind: str, serve: Serve, notes: Notes, name: str) -> None:
    server = serve(kind, site=SITE, env=environment(notes))
    with crowd(server, notes, name, size(kind)):
        stopped = server.stop(SIGQUIT)
    assert_soon(server, stopped, "SIGQUIT")


def until_both_answer(server: Server) -> None:
    pids: set[int] = set()

    def both() -> bool:
        pids.add(json.loads(get(server, "/streams/process/")[1])["pid"])
        return len(pids) == 2

    eventually(both, lambda: pids)


# (granian's WSGI workers may hang, whatever they serve, when they are told twice.)
@pytest.mark.parametrize("kind", MANY_WORKERS)
def test_a_terminals_ctrl_c_reaches_every_worker_at_once(
    kind: str, serve: Serve, notes: Notes, name: str
) -> None:
    server = serve(kind, site=SITE, env=environment(notes), args=TWO_WORKERS)
    # gunicorn has a traceback for a worker that is told to stop while it loads the project.
    until_both_answer(server)
    with crowd(server, notes, name, size(kind)):
        stopped = server.stop(SIGINT, whole_group=True)
    assert_soon(server, stopped, "Ctrl-C, 2 workers")


@pytest.mark.parametrize(
    "kind", ["daphne", "uvicorn", f"uvicorn{IN_DJANGO}", "granian", "hypercorn", *GUNICORN]
)
def test_a_clean_up_that_awaits_for_a_while_is_waited_for(
    kind: str, serve: Serve, notes: Notes, name: str
) -> None:
    server = serve(kind, env=environment(notes))
    with Stream(server, f"/streams/waiting/?name={name}&cleanup=0.4") as stream:
        stream.next()
        stopped = server.stop()
        assert_told_to_come_back(stream)
    assert_soon(server, stopped, "clean-up of 0.4 s")
    notes.wait_for(name)


def test_gunicorn_that_loads_the_project_before_it_forks_is_told_by_its_own_hook(
    serve: Serve, notes: Notes, name: str, tmp_path: Path
) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        "def post_worker_init(worker):\n"
        "    from django_sse.servers import signals\n"
        "    signals.watch()\n"
    )
    args = ("--preload", "--config", str(config))
    server = serve("gunicorn-gthread", site=SITE, env=environment(notes), args=args)
    with crowd(server, notes, name, size(server.kind)):
        stopped = server.stop()
    assert_soon(server, stopped, "--preload")


@pytest.mark.parametrize("count", [20, 100_000], ids=["that ends", "that is interrupted"])
def test_a_server_that_ends_with_an_exception_does_so_after_a_run(
    count: int, serve: Serve, notes: Notes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = Kind(f"-m {exiting_server.__name__} {{host}} {{port}}")
    monkeypatch.setitem(KINDS, "exiting", kind)
    server = serve("exiting", env=environment(notes, GRACE=3.0))
    stream, _ = Client().start(server, f"/answer/?count={count}&pause=0.05&name={name}")
    with stream:
        stream.next()
        stopped = server.stop()
        assert_told_to_come_back(stream)
    assert_soon(server, stopped, "with a run")
    assert stopped.returncode == exiting_server.EXIT_CODE
    notes.wait_for(name)


# -- without a signal

LIMIT = 20
LIMITED = {
    "uvicorn": "--limit-max-requests",
    "uvicorn-asyncio": "--limit-max-requests",
    f"uvicorn{IN_DJANGO}": "--limit-max-requests",
    "hypercorn": "--max-requests",
    "gunicorn-asgi": "--max-requests",
    "gunicorn-gthread": "--max-requests",
}


@pytest.mark.parametrize("kind", LIMITED)
def test_a_worker_that_had_all_its_requests_ends_its_streams_and_is_replaced(
    kind: str, serve: Serve, notes: Notes, name: str
) -> None:
    server = serve(kind, site=SITE, env=environment(notes), args=(LIMITED[kind], str(LIMIT)))
    before = process_id(server)
    with crowd(server, notes, name, 10):
        for _ in range(LIMIT):
            # One that is on its own has closed its port.
            with suppress(OSError, HTTPException):
                get(server, "/ok/")
    eventually(lambda: not server.running or process_id(server) not in (before, b""), server.output)
    assert "Traceback" not in server.output()


@pytest.mark.needs("uvicorn")
def test_a_server_is_asked_while_it_runs_and_not_when_another_runs_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import uvicorn

    seen: list[bool] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        for word in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{word}"
            signals.watch()
            signals.look()
            seen.append(pulse.is_draining())
            await send({"type": f"lifespan.{word}.complete"})

    monkeypatch.setattr(pulse, "_draining_until", 0.0)
    uvicorn.Server(
        uvicorn.Config(application, port=0, log_level="error", limit_max_requests=0)
    ).run()
    assert seen == [False, True]
    monkeypatch.setattr(pulse, "_draining_until", 0.0)
    signals.look()
    assert not pulse.is_draining()


# -- runserver with autoreload

RELOADING: tuple[str, ...] = ("runserver-daphne",)
if FULL:
    RELOADING += (f"runserver-daphne{IN_DJANGO}", "runserver-wsgi")


@pytest.fixture
def reloading(
    serve: Serve, notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Server]:
    """Starts runserver as people do, with a settings file that nobody else looks at."""

    def start(kind: str) -> Server:
        command = KINDS[kind].command.replace(" --noreload", "")
        monkeypatch.setitem(KINDS, kind, replace(KINDS[kind], command=command))
        settings = tmp_path / "watched_settings.py"
        settings.write_text(f"from {SITE.settings} import *\n")
        watched = {
            "DJANGO_SETTINGS_MODULE": settings.stem,
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
        }
        return serve(kind, site=SITE, env=environment(notes) | watched)

    return start


def process_id(server: Server) -> bytes:
    """Which process answers; empty when none does."""
    with suppress(OSError, HTTPException):
        return get(server, "/streams/process/")[1].partition(b",")[0]
    return b""


@pytest.mark.parametrize("kind", RELOADING)
def test_a_reload_ends_the_streams_cleanly(
    kind: str, reloading: Callable[[str], Server], notes: Notes, name: str, tmp_path: Path
) -> None:
    server = reloading(kind)
    before = process_id(server)

    def reloads() -> bool:
        # Again and again: the reloader compares with its first look, which may come after a change.
        changed = tmp_path / "changed"
        changed.write_text(f"from {SITE.settings} import *\nNEW = {time.monotonic_ns()}\n")
        changed.replace(tmp_path / "watched_settings.py")
        return process_id(server) != before

    with crowd(server, notes, name, size(kind)):
        eventually(reloads, server.output)
    eventually(lambda: process_id(server) not in (before, b""), server.output)
    if IN_DJANGO not in kind:
        assert "Traceback" not in server.output()


@pytest.mark.parametrize("kind", RELOADING)
def test_ctrl_c_while_it_watches_files_ends_the_streams_cleanly(
    kind: str, reloading: Callable[[str], Server], notes: Notes, name: str
) -> None:
    server = reloading(kind)
    with crowd(server, notes, name, 20):
        stopped = server.stop(SIGINT, whole_group=True)
    assert_soon(server, stopped, "Ctrl-C, autoreload")


@pytest.mark.parametrize("kind", [*HANDOFF, "gunicorn-gthread"])
def test_a_client_that_reads_nothing_keeps_no_server(
    kind: str, serve: Serve, notes: Notes, name: str
) -> None:
    # It gives no way to drop a connection, and waits for it for ever if it is not told otherwise.
    args = ("--workers-kill-timeout", "1") if kind == "granian" else ()
    server = serve(kind, env=environment(notes), args=args)
    # In threads the small chunks of the other would take long to fill the kernels' buffers.
    view = "flooding_sync" if kind == "gunicorn-gthread" else "never_awaits"
    with Stream(server, f"/streams/{view}/?name={name}", receive_buffer=4096) as stalled:
        stalled.read()
        # Meanwhile all that the kernels take has been written.
        for _ in range(100):
            assert get(server, "/ok/")[0] == 200
        stopped = server.stop()
    assert_soon(server, stopped, "with a client that reads nothing")


@pytest.mark.parametrize("kind", [*HANDOFF, f"uvicorn{IN_DJANGO}"])
def test_the_first_stream_of_a_server_that_stops_while_it_is_opened_ends(
    kind: str, serve: Serve, notes: Notes, name: str
) -> None:
    server = serve(kind, env=environment(notes, OPEN_TIMEOUT=1.0))
    with Stream(server, f"/streams/opens_late/?name={name}"):
        notes.wait_for(f"{name} begun")
        stopped = server.stop()
    assert_soon(server, stopped, "while its first stream is opened")
    notes.wait_for(name)
