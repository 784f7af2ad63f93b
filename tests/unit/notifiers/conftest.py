"""The notifiers under test: those that need no service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from django_sse.notifiers import Notifier
from tests.unit.notifiers.support import using


@pytest.fixture(params=["local", "database", "layer-in-memory"])
def way(request: pytest.FixtureRequest) -> str:
    """A key of `WAYS`; `tests/integration/notifiers` has those with a service."""
    name: str = request.param
    return name


@pytest.fixture(params=["database"])
def distant_way(request: pytest.FixtureRequest) -> str:
    """As `way`, of those that claim to hear other processes."""
    name: str = request.param
    return name


@pytest.fixture
async def notifier(
    way: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Notifier]:
    async with using(way, settings, monkeypatch) as notifier:
        yield notifier


@pytest.fixture
async def distant(
    distant_way: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Notifier]:
    async with using(distant_way, settings, monkeypatch) as notifier:
        assert notifier.supports_other_processes
        yield notifier
