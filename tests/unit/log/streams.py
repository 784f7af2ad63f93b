"""What the tests share that stream a channel from each log: settings, and what clients get."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from django_sse import apublish
from django_sse.log import EventLog
from django_sse.wire import MessageEvent
from tests import options
from tests.options import Overrides

NEVER = 3600.0


@pytest.fixture
def configure(settings: Any, request: pytest.FixtureRequest) -> Iterator[Overrides]:
    """Changes settings and constants. By default the safety poll never runs."""
    base = {
        "HEARTBEAT": NEVER,
        "SAFETY_INTERVAL": NEVER,
        "THREAD_IDLE": 0.05,
        "NOTIFIER": "local",
    }
    for change in options.configure(settings, base, request):
        change()
        yield change


@pytest.fixture
async def live(configure: Overrides, log: EventLog) -> AsyncIterator[None]:
    """At the end the library's threads have closed their connections."""
    yield
    configure()
    for thread in threading.enumerate():
        if thread.name in ("django_sse-reader", "django_sse-writer"):
            await asyncio.to_thread(thread.join, 60)


def reason(event: MessageEvent) -> str:
    assert event.type == "stream-reset", event
    assert json.loads(event.data)["channels"] == [0]
    said: str = json.loads(event.data)["reason"]
    return said


async def say(*data: str) -> list[str]:
    """Publish each of ``data`` by itself; return the ids."""
    return [await apublish("a", each) or "" for each in data]
