"""The fixtures of runs, for their tests over HTTP."""

from __future__ import annotations

from tests.unit.runs.conftest import configure, live

__all__ = ["configure", "live"]
