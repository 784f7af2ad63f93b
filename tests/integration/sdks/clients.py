"""The vendors' SDKs, each in a process of its own that prints what the SDK said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from tests import ROOT
from tests.requirements import NODE_CLIENTS, require

# What an SDK would take its address, its key or a proxy from, and where it would report to.
FOREIGN = ("OPENAI_", "ANTHROPIC_", "AI_", "VERCEL_", "OTEL_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_")

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sdk:
    """One SDK and the endpoint of the demo that it speaks to; ``name`` is that of the package."""

    name: str
    language: str
    dialect: str
    path: str

    def command(self) -> list[str]:
        client = ["node", str(NODE_CLIENTS / "sdk.mjs")]
        if self.language == "python":
            client = [sys.executable, "-m", "tests.integration.sdks.python_client"]
        return [*client, self.dialect]

    def ask(self, url: str, prompt: str) -> Said:
        """The SDK's answer to `prompt`, from the demo or a copy of it at `url`."""
        if self.language == "node":
            require("node-clients")
        return running(self).ask(f"{url}/compatible/{self.path}", prompt)

    def __str__(self) -> str:
        return f"{self.language}-{self.dialect}"


@dataclass(frozen=True, slots=True)
class Said:
    """The lines that a client printed; see ``tests/node/sdk.mjs``."""

    lines: list[Line]

    def the(self, kind: str) -> Line | None:
        """The line of that kind, of which there is one at most; None where there is none."""
        found = [line for line in self.lines if line["kind"] == kind]
        assert len(found) <= 1, self.lines
        return found[0] if found else None

    @property
    def texts(self) -> list[str]:
        """The text deltas, as they came."""
        return [line["text"] for line in self.lines if line["kind"] == "text"]

    @property
    def hosts(self) -> list[str]:
        """Every host that the process connected to."""
        end = self.the("end")
        assert end is not None, self.lines
        hosts: list[str] = end["hosts"]
        return hosts


class Client:
    """A process with one SDK, which is asked again and again: loading an SDK takes seconds."""

    def __init__(self, sdk: Sdk) -> None:
        self._process = subprocess.Popen(
            sdk.command(),
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, url: str, prompt: str) -> Said:
        """Raises `AssertionError` where the process ends."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([url, prompt]) + "\n")
        self._process.stdin.flush()
        lines: list[Line] = []
        for text in self._process.stdout:
            lines.append(json.loads(text))
            if lines[-1]["kind"] == "end":
                return Said(lines)
        raise AssertionError(f"the client ended with {self._process.wait()} after {lines}")

    def close(self) -> None:
        with self._process:
            self._process.kill()


_running: dict[Sdk, Client] = {}


def running(sdk: Sdk) -> Client:
    """The client of that SDK, started at its first use."""
    if sdk not in _running:
        _running[sdk] = Client(sdk)
    return _running[sdk]


def close_all() -> None:
    while _running:
        _running.popitem()[1].close()


def environment() -> dict[str, str]:
    """Ours, without what would lead an SDK away from the demo."""
    return {
        **{name: text for name, text in os.environ.items() if not name.upper().startswith(FOREIGN)},
        "DO_NOT_TRACK": "1",
        "OTEL_SDK_DISABLED": "true",
    }


SDKS = (
    Sdk("openai", "python", "openai-chat", "openai/v1"),
    Sdk("openai", "python", "openai-responses", "openai/v1"),
    Sdk("anthropic", "python", "anthropic", "anthropic"),
    Sdk("openai", "node", "openai-chat", "openai/v1"),
    Sdk("openai", "node", "openai-responses", "openai/v1"),
    Sdk("@anthropic-ai/sdk", "node", "anthropic", "anthropic"),
    Sdk("ai", "node", "ai-sdk", "ai-sdk/chat"),
    Sdk("@ag-ui/client", "node", "ag-ui", "ag-ui/"),
)
