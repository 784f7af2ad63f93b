"""Trials: a copy of the tree in which a room's tests run, as it is and then with its mutants."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.mutants.plugin import RECORD, TESTS, TRACE, Test
from benchmarks.mutants.sites import Site

LEFT_OUT: Final = shutil.ignore_patterns(".git", ".venv", "node_modules", "__pycache__", ".*_cache")
# A test that takes this many times as long as it should, and some more, hangs.
PATIENCE: Final = 5.0
LEAST_SECONDS: Final = 20.0
TIMED_OUT: Final = "timeout"
SURVIVED: Final = ""
# Of pytest's summary; what is logged has more spaces after its level.
FAILED: Final = re.compile(r"^(?:FAILED|ERROR) \S.*?(?= - |$)", re.MULTILINE)


@contextmanager
def copied(root: Path) -> Iterator[Path]:
    """A copy of the tree at ``root``, which goes away."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        copy = Path(directory).resolve() / "tree"
        # With its times: what Python has compiled of the unchanged files stays good.
        shutil.copytree(root, copy, ignore=LEFT_OUT, symlinks=True)
        yield copy


@dataclass(frozen=True, slots=True)
class Run:
    """How one run of pytest has ended."""

    code: int | None
    """None: it had to be ended."""
    output: str

    @property
    def killer(self) -> str:
        """The test that has noticed the mutant; empty if none has."""
        if self.code == 0:
            return SURVIVED
        if self.code is None or "Failed: Timeout" in self.output or "+ Timeout +" in self.output:
            return TIMED_OUT
        if self.code == pytest_no_tests():
            raise RuntimeError(f"No test was run:\n{self.output}")
        failed = FAILED.search(self.output)
        return failed[0] if failed else f"pytest ended with {self.code}"


def pytest_no_tests() -> int:
    """Pytest's exit code when nothing was collected."""
    import pytest

    return int(pytest.ExitCode.NO_TESTS_COLLECTED)


def run_pytest(copy: Path, arguments: Sequence[str], env: Mapping[str, str], seconds: float) -> Run:
    """Run pytest in ``copy`` for at most so long; nothing that it starts outlives it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "benchmarks.mutants.plugin"]
    command += ["-p", "no:xdist", "-p", "no:randomly", "-p", "no:cacheprovider"]
    command += ["--hypothesis-seed=0", "--tb=line", *arguments]
    fixed = {"PYTHONPATH": str(copy), "PYTHONHASHSEED": "0", "PYTEST_ADDOPTS": ""}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=copy,
            env={**os.environ, **fixed, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code = wait(process, seconds)
        output.seek(0)
        return Run(code, output.read())


def wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit code, or None after ``seconds``; then its whole group is ended."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Bench:
    """The tests of one room, in a copy of the tree."""

    def __init__(self, copy: Path, tests: Sequence[str]) -> None:
        self._copy = copy
        self._paths = tests
        self._notes = copy.parent / "notes.json"
        self.tests: dict[str, Test] = {}
        self.failing: list[str] = []
        self.seconds = 0.0

    def prepare(self) -> None:
        """Run the tests twice as they are: what passes and how fast, then what each calls."""
        begun = time.monotonic()
        self.tests = self._record(trace=False)
        self.seconds = time.monotonic() - begun
        self.failing = [name for name, test in self.tests.items() if test.outcome == "failed"]
        self.tests = {name: test for name, test in self.tests.items() if test.outcome == "passed"}
        for name, traced in self._record(trace=True).items():
            if name in self.tests:
                self.tests[name].functions = traced.functions

    def _record(self, trace: bool) -> dict[str, Test]:
        env = {RECORD: str(self._notes), TRACE: "1" if trace else "0"}
        self._notes.unlink(missing_ok=True)
        run = run_pytest(self._copy, self._paths, env, 3600.0)
        if not self._notes.exists():
            raise RuntimeError(f"The tests could not be run:\n{run.output}")
        notes = json.loads(self._notes.read_text())
        return {name: Test(**test) for name, test in notes.items()}

    def tests_of(self, site: Site) -> tuple[list[str], list[str]]:
        """The tests that call its function, and all others; the fastest first."""
        wanted = f"{site.file}:{site.function}"
        names = sorted(self.tests, key=lambda name: round(self.tests[name].seconds))
        callers = [name for name in names if wanted in self.tests[name].functions]
        return callers, [name for name in names if wanted not in self.tests[name].functions]

    def kill(self, site: Site) -> str:
        """Try to kill the mutant; what did, or nothing if it survived."""
        path = self._copy / site.file
        text, times = path.read_text(), path.stat()
        path.write_text(site.mutate(text))
        try:
            # The others, too: what is cached, or called in another process, was not seen.
            runs = (self._try(names) for names in self.tests_of(site) if names)
            return next(filter(None, runs), SURVIVED)
        finally:
            path.write_text(text)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _try(self, names: Sequence[str]) -> str:
        """Run these tests; which of them has noticed."""
        self._notes.write_text(json.dumps(names))
        taken = [self.tests[name].seconds for name in names]
        limit = LEAST_SECONDS + PATIENCE * max(taken)
        arguments = ["-x", f"--timeout={limit}", *self.files_of(names)]
        env = {TESTS: str(self._notes), "PYTHONDONTWRITEBYTECODE": "1"}
        seconds = 3 * LEAST_SECONDS + limit + PATIENCE * sum(taken)
        return run_pytest(self._copy, arguments, env, seconds).killer

    @staticmethod
    def files_of(names: Sequence[str]) -> list[str]:
        """The files that pytest has to collect."""
        return sorted({name.partition("::")[0] for name in names})
