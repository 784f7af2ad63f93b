"""A pytest plugin: records what each test calls, or runs the tests it is told to, in that order.

The environment tells it what to do; without it, it does nothing.

``MUTANTS_RECORD``  a file to write: each test's outcome, seconds and, with ``MUTANTS_TRACE=1``, the
                    functions below ``django_sse`` that were called meanwhile, in any thread
``MUTANTS_TESTS``   a file to read: the ids of the tests to run, in their order
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import hypothesis
import pytest

from benchmarks.mutants.sites import MODULE

RECORD: Final = "MUTANTS_RECORD"
TRACE: Final = "MUTANTS_TRACE"
TESTS: Final = "MUTANTS_TESTS"
PACKAGE: Final = "django_sse"


def key_of(code: CodeType, root: str) -> str:
    """``file:function``, as a site has them: a lambda or a comprehension is its function's."""
    parts = [part for part in code.co_qualname.split(".") if not part.startswith("<")]
    return f"{code.co_filename.removeprefix(root)}:{'.'.join(parts) or MODULE}"


@dataclass(slots=True)
class Test:
    """The facts of one test."""

    outcome: str = "passed"
    seconds: float = 0.0
    functions: list[str] = field(default_factory=list)


class Recorder:
    """Watches a whole run."""

    def __init__(self, root: Path, target: Path, trace: bool) -> None:
        self._root = f"{root}/"
        self._below = f"{root / PACKAGE}/"
        self._target = target
        self._trace = trace
        self._tests: dict[str, Test] = {}
        self._called: set[CodeType] = set()

    def watch(self, frame: FrameType, event: str, argument: Any) -> None:
        """A trace function that sees calls and no lines."""
        if frame.f_code.co_filename.startswith(self._below):
            self._called.add(frame.f_code)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """One test with its fixtures."""
        self._called = set()
        if self._trace:
            # Each time: Hypothesis and others set it, too.
            threading.settrace(self.watch)
            sys.settrace(self.watch)
        try:
            return (yield)
        finally:
            test = self._tests.setdefault(item.nodeid, Test())
            test.functions = sorted({key_of(code, self._root) for code in self._called.copy()})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One of a test's three phases has ended."""
        test = self._tests.setdefault(report.nodeid, Test())
        test.seconds += report.duration
        if not report.passed:
            test.outcome = report.outcome

    def pytest_sessionfinish(self) -> None:
        """Write it down."""
        sys.settrace(None)
        found = {name: asdict(test) for name, test in self._tests.items()}
        self._target.write_text(json.dumps(found))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that are asked for, in the order they are asked for."""
    given = os.environ.get(TESTS)
    if given:
        order = {name: place for place, name in enumerate(json.loads(Path(given).read_text()))}
        items[:] = [item for item in items if item.nodeid in order]
        items.sort(key=lambda item: order[item.nodeid])


def pytest_configure(config: pytest.Config) -> None:
    """Watch, where told to. A failing example needs no smaller one."""
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", phases=phases, database=None)
    hypothesis.settings.load_profile("mutants")
    target = os.environ.get(RECORD)
    if target:
        trace = os.environ.get(TRACE) == "1"
        config.pluginmanager.register(Recorder(config.rootpath, Path(target), trace))
