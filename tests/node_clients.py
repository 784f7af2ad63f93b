"""The clients of ``tests/node``: programs that print what they saw, one JSON object a line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.requirements import NODE_CLIENTS

Line = dict[str, Any]


class NodeClient:
    """One run of a client: what it printed so far, and what it prints next."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.lines: list[Line] = []

    def until(self, wanted: Callable[[Line], bool]) -> Line:
        """Read on to the first line that is ``wanted``; fail where there is none."""
        assert self._process.stdout is not None
        for text in self._process.stdout:
            self.lines.append(json.loads(text))
            if wanted(self.lines[-1]):
                return self.lines[-1]
        pytest.fail(f"the client ended without it; it saw {self.lines}")

    def until_kind(self, kind: str) -> Line:
        """The next line of that kind."""
        return self.until(lambda line: line["kind"] == kind)

    def of(self, kind: str) -> list[Line]:
        """The lines of that kind so far."""
        return [line for line in self.lines if line["kind"] == kind]


@contextmanager
def node_client(script: str, *arguments: str) -> Iterator[NodeClient]:
    """``script`` of ``tests/node``, running; ended with the block."""
    command = ["node", script, *arguments]
    with subprocess.Popen(command, cwd=NODE_CLIENTS, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield NodeClient(process)
        finally:
            process.terminate()
