"""What generators in a server's process write down, awaited by the test.

A named pipe: the views open a path and append a line, and the test is woken by it.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

TIMEOUT = 60.0


class Notes:
    """The lines that were written to ``path`` so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        # Read and write: with a writer of our own the pipe has no end (fifo(7)).
        self._pipe = os.open(path, os.O_RDWR)
        self._lines: Counter[str] = Counter()
        self._changed = threading.Condition()
        threading.Thread(target=self._read, name="notes", daemon=True).start()

    def _read(self) -> None:
        with open(self._pipe, closefd=False) as lines:
            for line in lines:
                with self._changed:
                    self._lines[line.rstrip("\n")] += 1
                    self._changed.notify_all()

    def count(self, line: str) -> int:
        """How often ``line`` was written."""
        with self._changed:
            return self._lines[line]

    def wait_for(self, line: str, times: int = 1) -> None:
        """Returns once ``line`` was written so often. Raises `AssertionError` if it never is."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._lines[line] >= times, TIMEOUT):
                raise AssertionError(f"nobody noted {line!r}, only {dict(self._lines)}")
