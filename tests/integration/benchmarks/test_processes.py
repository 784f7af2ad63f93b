"""Servers under measurement."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import ServerFailed, Tree, free_port, running
from tests import ROOT

SERVER = """
import os, socket, sys, threading
block = bytearray(os.urandom(int(sys.argv[2])))
if os.fork() == 0:
    threading.Event().wait()
threading.Thread(target=threading.Event().wait).start()
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listener.accept()
    if connection.recv(4) == b"work":
        while os.times().user < 0.3: pass
    connection.sendall(b"done")
    connection.close()
"""
PYTHON = [sys.executable, "-c", SERVER]


def test_a_tree_is_all_processes_of_the_server(tmp_path: Path):
    port = free_port()
    with running([*PYTHON, str(port), "0"], port, {}, None, tmp_path) as tree:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"work")
            assert client.recv(4) == b"done"
        assert len(tree.pids()) == 2
        assert tree.threads() == 3
        assert tree.cpu_seconds() >= 0.3
    assert tree.pids() == []


def test_memory_is_counted_once_for_all_who_share_it(tmp_path: Path):
    size = 64 << 20
    port = free_port()
    with running([*PYTHON, str(port), str(size)], port, {}, None, tmp_path) as tree:
        assert size <= tree.memory() < 1.7 * size


def test_a_server_that_ends_shows_what_it_wrote(tmp_path: Path):
    command = [sys.executable, "-c", "raise SystemExit('no such settings')"]
    with (
        pytest.raises(ServerFailed, match="no such settings"),
        running(command, free_port(), {}, None, tmp_path),
    ):
        pass


def test_what_is_gone_costs_nothing():
    tree = Tree(2**22 + 1)
    assert (tree.pids(), tree.cpu_seconds(), tree.threads(), tree.memory()) == ([], 0, 0, 0)


def test_an_error_in_the_measure_ends_the_server(tmp_path: Path):
    port = free_port()
    trees: list[Tree] = []

    def fail() -> None:
        with running([*PYTHON, str(port), "0"], port, {}, None, tmp_path) as tree:
            trees.append(tree)
            raise RuntimeError("measured nothing")

    with pytest.raises(ServerFailed, match="measured nothing"):
        fail()
    assert trees[0].pids() == []


MEASURING = """
import sys, time
from pathlib import Path
from benchmarks.processes import end_on_signals, free_port, running
end_on_signals()
port = free_port()
with running([*sys.argv[1:], str(port), "0"], port, {}, None, Path()) as tree:
    print(tree.session, flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_is_stopped_stops_its_servers(signum: int):
    command = [sys.executable, "-c", MEASURING, *PYTHON]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as measuring:
        assert measuring.stdout is not None
        tree = Tree(int(measuring.stdout.readline()))
        assert len(tree.pids()) == 2
        measuring.send_signal(signum)
        assert measuring.wait(60) != 0
    assert tree.pids() == []
