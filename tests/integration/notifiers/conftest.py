"""The notifiers that need a service, for the contract of `tests/unit/notifiers`."""

from __future__ import annotations

import pytest

from tests.unit.notifiers.conftest import distant, notifier

__all__ = ["distant", "notifier"]


@pytest.fixture(
    params=[
        pytest.param("postgres", marks=pytest.mark.needs("postgres")),
        pytest.param("layer-redis-core", marks=pytest.mark.needs("redis")),
        pytest.param("layer-redis-pubsub", marks=pytest.mark.needs("redis")),
    ]
)
def way(request: pytest.FixtureRequest) -> str:
    """A key of `WAYS`."""
    name: str = request.param
    return name


@pytest.fixture
def distant_way(way: str) -> str:
    """All of them claim to hear other processes."""
    return way
