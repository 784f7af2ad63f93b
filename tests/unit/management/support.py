"""Running the commands: in this process, and as the operator does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from textwrap import dedent
from typing import Any

from django.core.management import call_command

from tests import ROOT
from tests.unit.log.support import environment

TIMEOUT = 120.0


def run(name: str, *args: str) -> str:
    """What the command writes to its standard output. Raises its `CommandError`."""
    out = StringIO()
    call_command(name, *args, stdout=out, stderr=StringIO())
    return out.getvalue()


def complaints(name: str, *args: str) -> str:
    """What the command writes to its standard error."""
    err = StringIO()
    call_command(name, *args, stdout=StringIO(), stderr=err, no_color=True)
    return err.getvalue()


@contextmanager
def process(*args: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process of its own, on the database of this test; killed at the end."""
    env = {**environment(), **options.pop("env", {})}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", "django", *args]
    with subprocess.Popen(command, cwd=ROOT, env=env, **{**pipes, **options}) as running:
        try:
            yield running
        finally:
            running.kill()


def run_process(*args: str, input: bytes = b"", **options: Any) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    with process(*args, stdin=subprocess.PIPE, **options) as running:
        out, err = running.communicate(input, timeout=TIMEOUT)
    return running.returncode, out.decode(), err.decode()


def run_tests(folder: Path, settings: str, tests: str, *arguments: str) -> str:
    """What Django's own runner says of a project of one file, `test_project`, that passes."""
    (folder / "project_settings.py").write_text(settings)
    (folder / "test_project.py").write_text(dedent(tests))
    command = ["-m", "django", "test", "--settings", "project_settings", *arguments]
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", *command],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
