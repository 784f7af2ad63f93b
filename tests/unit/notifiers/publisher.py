"""A process that publishes when it is told, and says how it went."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Self

from tests import ROOT

_PROGRAM = """
import sys, time
import django
django.setup()
from django_sse import publish
from django_sse.exceptions import LogUnavailable
print("ready", flush=True)
for line in sys.stdin:
    channel, data = line.rstrip("\\n").split(" ", 1)
    try:
        print(publish(channel, data.replace("NOW", str(time.monotonic_ns()))), flush=True)
    except LogUnavailable:
        print("LogUnavailable", flush=True)
"""


class Publisher:
    """`env`: what `tests.settings` read from the environment."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._answer() == "ready"
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def publish(self, channel: str, data: object) -> str:
        """The id of the event, or `LogUnavailable`. NOW in `data` is the moment, in nanoseconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{channel} {data}\n")
        self._process.stdin.flush()
        return self._answer()
