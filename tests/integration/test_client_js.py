"""Runs the JavaScript client's own tests, which are written for Node's test runner."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.processes import kill_session

CLIENT_TESTS = Path(__file__).parent / "client"
TIMEOUT = 240  # seconds; they take six on a quiet machine


@pytest.mark.needs("node")
def test_the_javascript_client_passes_its_tests_in_node(tmp_path: Path) -> None:
    # Named one by one: what a folder means to `node --test` differs between the versions of Node.
    files = sorted(str(path) for path in CLIENT_TESTS.glob("*.test.mjs"))
    assert files
    output = tmp_path / "output"
    with output.open("wb") as file:
        # The runner starts a process for each file: a session of their own ends them all.
        runner = subprocess.Popen(
            ["node", "--test", "--test-reporter=tap", *files],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            outcome = f"exited with {runner.wait(TIMEOUT)}"
        except subprocess.TimeoutExpired:
            outcome = f"did not end within {TIMEOUT} s"
        finally:
            kill_session(runner.pid)
            runner.wait()
    text = output.read_text(errors="replace")
    if outcome != "exited with 0":
        pytest.fail(f"node --test {outcome}:\n{text}", pytrace=False)
    assert "\n# fail 0\n" in text
