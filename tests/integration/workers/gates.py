"""Lets a job in another process go on, step by step: a named pipe with a word for each step.

    gate = Gate(directory, report)
    gate.let("a page")           # one of `steps(report)` in the job

The job waits in a read, so nobody polls and nothing takes a while.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

DIRECTORY = "DJANGO_SSE_TEST_GATES"


class Gate:
    """The test's side; one job waits at it at a time."""

    def __init__(self, directory: Path, name: object) -> None:
        # Open for both (Linux, fifo(7)): who opens it waits for nobody, and it has no end.
        self._pipe = os.open(_made(directory, name), os.O_RDWR)

    def close(self) -> None:
        os.close(self._pipe)

    def let(self, *steps: str) -> None:
        os.write(self._pipe, "".join(f"{step}\n" for step in steps).encode())


def _made(directory: Path, name: object) -> Path:
    path = directory / f"{name}"
    # Either side may be the first.
    with suppress(FileExistsError):
        os.mkfifo(path)
    return path


def steps(name: object) -> Iterator[str]:
    """The words that the test says, each when it says it.

    Unbuffered: what is not read yet is for the next attempt.
    """
    with open(_made(Path(os.environ[DIRECTORY]), name), "rb", buffering=0) as pipe:
        word = b""
        while byte := pipe.read(1):
            if byte != b"\n":
                word += byte
                continue
            yield word.decode()
            word = b""
