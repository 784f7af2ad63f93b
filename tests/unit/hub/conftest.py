"""The log and the notifier of these tests, with ticks and polls that do not come by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import options
from tests.unit.hub.support import HandNotifier, WatchedLog, hand_notifier, watched_log

NEVER = 3600.0
OPTIONS = {
    "LOG": "tests.unit.hub.support.WatchedLog",
    "NOTIFIER": "tests.unit.hub.support.HandNotifier",
    "HEARTBEAT": NEVER,
    "SAFETY_INTERVAL": NEVER,
    "THREAD_IDLE": 0.2,
}


@pytest.fixture
def configure(settings: Any, request: pytest.FixtureRequest) -> Iterator[options.Overrides]:
    """Changes settings and constants on top of ``OPTIONS``."""
    yield from options.configure(settings, OPTIONS, request)


@pytest.fixture
def log(configure: Callable[..., None]) -> Iterator[WatchedLog]:
    configure()
    log = watched_log()
    log.reset()
    yield log
    log.reset()


@pytest.fixture
def notifier(log: WatchedLog) -> Iterator[HandNotifier]:
    notifier = hand_notifier()
    notifier.reset()
    yield notifier
    notifier.reset()
