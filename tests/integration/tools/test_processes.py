from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import (
    ROOT,
    Program,
    ProgramFailed,
    kill_session,
    open_files,
    session_members,
    thread_count,
)

# Says that it is up, then waits for its stdin to close.
WAITER = "import sys; print(flush=True); sys.stdin.read()"


@pytest.fixture
def session() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a session of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        assert process.stdin is not None
        process.stdin.close()


def test_a_session_has_its_leader_and_not_its_parent(session: subprocess.Popen[bytes]) -> None:
    assert list(session_members(session.pid)) == [session.pid]


def test_a_killed_session_is_dead_when_the_call_returns() -> None:
    # The child is nobody's to wait for once its parent is gone.
    spawn = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {WAITER!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", f"{spawn}; {WAITER}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        assert kill_session(process.pid) == 2
        assert list(session_members(process.pid)) == []
    assert kill_session(process.pid) == 0


def test_an_ignored_interrupt_is_accepted_again_and_reaches_children() -> None:
    child = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    code = f"""
import signal, subprocess, sys
from tests.processes import accept_interrupts
signal.signal(signal.SIGINT, signal.SIG_IGN)
before = subprocess.run([sys.executable, "-c", {child!r}], stderr=subprocess.DEVNULL)
accept_interrupts()
after = subprocess.run([sys.executable, "-c", {child!r}], stderr=subprocess.DEVNULL)
print(before.returncode, after.returncode)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", str(-signal.SIGINT)]


@pytest.mark.parametrize("released", [False, True], ids=["watched", "released"])
def test_a_watched_session_dies_with_the_process_that_watches_it(released: bool) -> None:
    code = f"""
import os, signal, subprocess, sys
from tests.processes import watchdog
child = subprocess.Popen(
    [sys.executable, "-c", "import signal; signal.pause()"],
    start_new_session=True,
    # Whoever holds the pipe of the test keeps the test waiting for its end.
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
watchdog().watch(child.pid)
if {released}:
    watchdog().release(child.pid)
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    session = int(done.stdout)
    if released:
        assert kill_session(session) == 1
    else:
        assert_dies(session)


def assert_dies(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], 60.0)[0]
    finally:
        os.close(handle)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path / "output.log")
    yield program
    program.kill()


# Says that it is up, and has a child.
PARENT = [
    sys.executable,
    "-uc",
    "import os, signal; os.fork() and print('up', os.environ.get('GREETING')); signal.pause()",
]


def _start_and_kill(program: Program, greeting: str) -> None:
    program.start(PARENT, lambda: f"up {greeting}" in program.output(), env={"GREETING": greeting})
    session = program.pid
    assert len(list(session_members(session))) == 2
    program.kill()
    assert list(session_members(session)) == []
    assert not program.running


def test_a_program_is_started_killed_with_its_children_and_started_again(program: Program) -> None:
    for greeting in ("first", "second"):
        _start_and_kill(program, greeting)
    assert program.output().split() == ["up", "first", "up", "second"]


def test_a_program_that_ends_before_it_is_ready_fails_with_its_words(program: Program) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    with pytest.raises(ProgramFailed, match=r"ended with 1:\nno such luck"):
        program.start(command, lambda: False)
    assert not program.running


def test_a_program_that_is_never_ready_is_killed(program: Program) -> None:
    with pytest.raises(ProgramFailed, match=r"not ready after 0\.1 s"):
        program.start(PARENT, lambda: False, timeout=0.1)
    assert not program.running


def test_a_program_that_ends_by_itself_tells_its_code(program: Program) -> None:
    program.start([sys.executable, "-c", "import sys; sys.exit(3)"], lambda: True)
    assert program.wait() == 3
    with pytest.raises(RuntimeError, match="not running"):
        _ = program.pid


def test_a_process_that_is_gone_is_in_no_session_and_has_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], start_new_session=True) as process:
        # Dead, and a zombie until it is waited for.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert list(session_members(process.pid)) == []
    assert thread_count(process.pid) == 0
    assert list(open_files(process.pid)) == []


def test_threads_are_counted() -> None:
    before = thread_count(os.getpid())
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        assert thread_count(os.getpid()) == before + 1
    finally:
        release.set()
        thread.join()


def test_open_files_tell_the_path_behind_each_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "open.txt"
    with path.open("w") as file:
        found = [each for each in open_files(os.getpid()) if each.target == str(path)]
        assert [each.number for each in found] == [file.fileno()]
