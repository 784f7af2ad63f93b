"""A server that does not stop, and a proxy that does not cut, would let other tests pass."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.proxy import Proxy
from tests.servers import HOST, KINDS, Kind, Server

# Answers any GET with "ok", after the line under test.
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
def script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Server]
) -> Callable[[str], Server]:
    def start(before: str) -> Server:
        path = tmp_path / "server.py"
        path.write_text(SCRIPT.format(before=before))
        monkeypatch.setitem(KINDS, "script", Kind(f"{path} {{port}}"))
        return serve("script")

    return start


def test_a_server_that_ignores_its_signal_is_killed_and_the_test_told(
    script: Callable[[str], Server],
) -> None:
    stopped = script("signal.signal(signal.SIGTERM, signal.SIG_IGN)").stop(timeout=0.2)
    assert (stopped.killed, stopped.returncode) == (True, -signal.SIGKILL)


def test_a_child_that_outlives_its_server_is_counted(script: Callable[[str], Server]) -> None:
    server = script('subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])')
    assert len(server.pids()) == 2
    stopped = server.stop()
    assert (stopped.killed, stopped.left_over) == (False, 1)


def test_connections_to_the_database_are_counted(script: Callable[[str], Server]) -> None:
    connect = 'sqlite3.connect(os.environ["DJANGO_SSE_TEST_DB"])'
    server = script(
        f"held = [{connect}, {connect}]\n"
        "for each in held: each.execute('select count(*) from django_migrations')"
    )
    assert server.database_handles() == 2


def test_a_proxy_refuses_cuts_stalls_and_restores() -> None:
    with socket.create_server((HOST, 0)) as echo, Proxy(echo.getsockname()[1]) as proxy:
        with socket.create_connection((HOST, proxy.port), timeout=30) as client:
            served, _ = echo.accept()
            proxy.stall()
            client.sendall(b"x")
            proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((HOST, proxy.port), timeout=30)
            served.settimeout(0.1)
            with pytest.raises(TimeoutError):
                served.recv(1)
            proxy.restore()
            served.settimeout(30)
            assert served.recv(1) == b"x"
            assert proxy.cut() == 1
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            served.close()
        with socket.create_connection((HOST, proxy.port), timeout=30):
            echo.accept()[0].close()
        assert proxy.counters.accepted == 2
