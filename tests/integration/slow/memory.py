"""The memory of a server."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.servers import Server

MEGABYTE = 1 << 20
_PAUSE = 0.2


def resident(server: Server) -> int:
    """Bytes of their own that its processes have in memory; what they share is counted once.

    Pss_Anon of proc(5): pages of libraries, whose share hangs on who else has loaded them, are not
    in it.
    """
    total = 0
    for pid in server.pids():
        with suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            if found := re.search(r"^Pss_Anon:\s+(\d+) kB", text, re.MULTILINE):
                total += int(found[1]) * 1024
    return total


class Peak:
    """The most that ``resident`` showed while it was open, looked at a few times a second."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="peak")
        self.bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            self.bytes = max(self.bytes, resident(self._server))
            if self._done.wait(_PAUSE):
                return
