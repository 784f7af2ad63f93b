"""The load generator, a C program that takes commands: see load/main.c."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class LoadFailed(RuntimeError):
    """The load generator gave up; the message says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the clients of one measure got. Times in milliseconds unless said otherwise."""

    published: int
    due: int
    delivered: int
    seconds: float
    doubled: int
    disordered: int
    closed: int
    p50: float
    p99: float
    max: float
    next_seq: int

    @property
    def lost(self) -> int:
        return self.due - self.delivered

    @property
    def speed(self) -> float:
        """Events delivered a second, over all clients."""
        return self.delivered / self.seconds


class Load:
    """One load generator, aimed at ``port``, on ``cores``."""

    def __init__(
        self, program: Path, port: int, publish: str, *, each: bool, cores: Sequence[int]
    ) -> None:
        pinned = ["taskset", "--cpu-list", ",".join(map(str, cores))] if cores else []
        self._process = subprocess.Popen(
            [*pinned, str(program), str(port), publish, "each" if each else "many"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.next_seq = 1
        """The number of the event that is published next, as of the last result."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def say(self, command: str) -> None:
        """Without waiting for the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail(command)

    def answer(self, command: str = "") -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._fail(command)
        found: dict[str, Any] = json.loads(line)
        self.next_seq = found.get("next_seq", self.next_seq)
        return found

    def _fail(self, command: str) -> None:
        assert self._process.stderr is not None
        raise LoadFailed(f"{command}: {self._process.stderr.read().strip() or 'it died'}")

    def _ask(self, command: str) -> dict[str, Any]:
        self.say(command)
        return self.answer(command)

    def open(self, clients: int, path: str, channels: int = 1) -> float:
        """Until there are ``clients`` with a response head. Returns the seconds it took."""
        return float(self._ask(f"open {clients} {channels} {path}")["seconds"])

    def open_silent(self, clients: int, path: str) -> None:
        """Clients that never read."""
        self._ask(f"silent {clients} {path}")

    def warm(self, seconds: float) -> None:
        """Publish for a while. Raises ``LoadFailed`` unless every client has got something."""
        answer = self._ask(f"warm {seconds}")
        if answer["reached"] < answer["clients"]:
            raise LoadFailed(f"{answer['reached']} of {answer['clients']} clients got any event")

    def closed(self, window: int, seconds: float) -> Result:
        """The next event is published when the server has acknowledged the last, and the clients
        are no more than ``window`` events behind on average."""
        return Result(**self._ask(f"closed {window} {seconds}"))

    def lockstep(self, burst: int, seconds: float) -> Result:
        """The next burst is published when all clients have all of the last one."""
        return Result(**self._ask(f"lockstep {burst} {seconds}"))

    def rate(self, per_second: float, seconds: float, size: int = 100) -> Result:
        return Result(**self._ask(f"rate {per_second} {seconds} {size}"))

    def watch(self, events: int, seconds: float) -> None:
        """Somebody else publishes; the result is ``watched()``."""
        self.say(f"watch {events} {seconds}")

    def watched(self) -> Result:
        return Result(**self.answer("watch"))

    def fill(self, events: int) -> None:
        """Publish so many, without a client."""
        self._ask(f"fill {events}")

    def gate(self, tokens: int, rate: int = 0) -> Result:
        """Let the generators go that the open clients wait for; ``rate`` tokens a second each, or
        as fast as they can."""
        return Result(**self._ask(f"gate {tokens} /go?tokens={tokens}&rate={rate}"))

    def replay(self, events: int, path: str, header: str = "") -> Result:
        return Result(**self._ask(f"replay {events} {path} {header}".rstrip()))

    def close_clients(self) -> None:
        self._ask("close")
