from __future__ import annotations

import http.client
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers import (
    ASGI_KINDS,
    HOST,
    IN_DJANGO,
    KINDS,
    TEST_SITE,
    WSGI_KINDS,
    Kind,
    ReservedPort,
    Server,
    ServerFailed,
    migrated_database,
)

Serve = Callable[..., Server]
# tests/integration/slow makes one for it.
WITH_CERTIFICATE = ("hypercorn-tls",)

# Answers any GET with the word "ok"; what stands before it is the misbehaviour under test.
SCRIPT = """
import os, signal, sqlite3, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

{before}
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Gives the name of a kind of server that runs the given lines and then answers "ok"."""

    def make(before: str) -> str:
        path = tmp_path / "server.py"
        path.write_text(SCRIPT.format(before=before))
        monkeypatch.setitem(KINDS, "script", Kind(f"{path} {{port}}"))
        return "script"

    return make


def get(server: Server, path: str = "/ok/") -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(HOST, server.port, timeout=30)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITH_CERTIFICATE])
def test_every_kind_starts_answers_stops_and_starts_again_on_its_port(
    kind: str, serve: Serve
) -> None:
    server = serve(kind)
    port = server.port
    assert get(server) == (200, b"ok")
    assert server.pid in server.pids()
    assert server.thread_count() >= len(server.pids())
    assert any(found.target.startswith("socket:") for found in server.open_files())

    stopped = server.stop()
    assert not stopped.killed
    assert not server.running
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port), timeout=30)

    server.start()
    assert server.port == port
    assert get(server) == (200, b"ok")


def test_every_kind_is_either_asgi_or_wsgi_or_runserver_with_daphne() -> None:
    of_one_way = {kind for kind in KINDS if not kind.endswith(IN_DJANGO)}
    assert {*ASGI_KINDS, *WSGI_KINDS, "runserver-daphne", *WITH_CERTIFICATE} == of_one_way


@pytest.mark.needs("daphne")
@pytest.mark.parametrize(
    ("kind", "banner"), [("runserver-daphne", True), ("runserver-wsgi", False)]
)
def test_runserver_is_asgi_only_with_daphne(kind: str, banner: bool, serve: Serve) -> None:
    assert ("ASGI/Daphne" in serve(kind).output()) is banner


def test_kill_ends_the_workers_too(serve: Serve) -> None:
    server = serve("gunicorn-gthread")
    assert len(server.pids()) > 1
    server.kill()
    assert server.pids() == []
    assert server.process.returncode == -signal.SIGKILL


def test_stop_falls_back_to_sigkill_and_says_so(
    script: Callable[[str], str], serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(script("signal.signal(signal.SIGTERM, signal.SIG_IGN)"))
    stopped = server.stop(timeout=0.2)
    assert stopped.killed
    assert stopped.returncode == -signal.SIGKILL
    assert "SIGKILL" in capsys.readouterr().out


def test_stop_sends_the_signal_that_was_asked_for(
    script: Callable[[str], str], serve: Serve
) -> None:
    server = serve(script("signal.signal(signal.SIGINT, lambda *_: os._exit(7))"))
    assert server.stop(signal.SIGINT).returncode == 7


def test_stop_ends_and_counts_processes_that_outlive_the_main_one(
    script: Callable[[str], str], serve: Serve
) -> None:
    child = 'subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])'
    server = serve(script(child))
    assert len(server.pids()) == 2
    stopped = server.stop()
    assert (stopped.killed, stopped.left_over) == (False, 1)


def test_a_server_that_dies_at_the_start_shows_what_it_wrote(
    script: Callable[[str], str], serve: Serve
) -> None:
    with pytest.raises(ServerFailed, match=r"ended with 3:\n[^$]*boom"):
        serve(script('print("boom"); sys.exit(3)'))


def test_a_server_that_never_answers_is_killed_and_shows_what_it_wrote(
    script: Callable[[str], str],
) -> None:
    server = Server(script('print("waiting", flush=True); signal.pause()'))
    with closing(server), pytest.raises(ServerFailed, match=r"no answer in 1\.0 s:\n[^$]*waiting"):
        server.start(timeout=1.0)
    assert not server.running


def test_a_port_that_is_taken_after_all_is_replaced(
    script: Callable[[str], str], serve: Serve, tmp_path: Path
) -> None:
    tried = tmp_path / "tried"
    server = serve(
        script(
            f"if not os.path.exists({str(tried)!r}):\n"
            f"    open({str(tried)!r}, 'w').write(sys.argv[1])\n"
            f"    sys.exit('Address already in use')"
        )
    )
    assert get(server) == (200, b"ok")
    assert server.port != int(tried.read_text())


def test_each_server_has_a_migrated_database_of_its_own(
    script: Callable[[str], str], serve: Serve
) -> None:
    look = (
        'paths = [os.environ["DJANGO_SSE_TEST_DB"]] * 2\n'
        "connections = [sqlite3.connect(path) for path in paths]\n"
        "for connection in connections:\n"
        '    print(connection.execute("select count(*) from django_migrations").fetchone())\n'
    )
    kind = script(look)
    first, second = serve(kind), serve(kind)
    assert first.database != second.database
    assert first.database_handles() == second.database_handles() == 2


def test_a_given_database_is_used_as_it_is_and_kept(
    script: Callable[[str], str], tmp_path: Path
) -> None:
    database = tmp_path / "given.sqlite3"
    with Server(script('print(os.environ["DJANGO_SSE_TEST_DB"])'), database=database) as server:
        assert not database.exists()
        database.touch()
    assert str(database) in server.output()
    assert database.exists()


def test_the_environment_and_arguments_reach_the_server(
    script: Callable[[str], str], serve: Serve
) -> None:
    kind = script('print(os.environ["COLOUR"], sys.argv[2:])')
    server = serve(kind, env={"COLOUR": "blue"}, args=["--loud"])
    server.stop()
    assert "blue ['--loud']" in server.output()


def test_the_output_stays_readable_after_the_end(script: Callable[[str], str]) -> None:
    with Server(script('print("last words", flush=True)')) as server:
        pass
    assert "last words" in server.output()
    assert not server.database.parent.exists()


def test_a_server_cannot_be_started_twice(script: Callable[[str], str], serve: Serve) -> None:
    server = serve(script(""))
    with pytest.raises(RuntimeError, match="stop"):
        server.start()


def test_a_server_that_was_never_started_has_no_process() -> None:
    with closing(Server("uvicorn")) as server, pytest.raises(RuntimeError, match="never started"):
        _ = server.pid


def test_a_reserved_port_is_given_to_nobody_else_but_can_be_bound_by_a_server() -> None:
    with closing(ReservedPort()) as port:
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind((HOST, port.number))
        with socket.create_server((HOST, port.number)) as server:
            assert server.getsockname()[1] == port.number


def test_a_database_is_migrated_once_a_process() -> None:
    assert migrated_database(TEST_SITE) is migrated_database(TEST_SITE)
