"""The demo that the SDKs speak to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.sdks.clients import close_all
from tests.servers import DEMO_SITE, Server


def serve(pace: str) -> Iterator[Server]:
    with Server("runserver-daphne", site=DEMO_SITE, env={"DEMO_PACE": pace}) as server:
        yield server


@pytest.fixture(scope="package")
def demo() -> Iterator[Server]:
    yield from serve("0.02")


@pytest.fixture(scope="package")
def slow_demo() -> Iterator[Server]:
    """An answer takes four seconds: it can be cut in its middle."""
    yield from serve("1")


@pytest.fixture(scope="package", autouse=True)
def clients() -> Iterator[None]:
    yield
    close_all()
