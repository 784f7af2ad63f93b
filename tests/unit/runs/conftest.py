"""Runs over the log that a project has by default, and threads that let go of the database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from django_sse.process.database import _executor
from django_sse.runs.keeper import get_keeper
from tests import options
from tests.unit.log.conftest import database, log, memory_log, model_log, storage

__all__ = ["configure", "database", "live", "log", "memory_log", "model_log", "storage"]

OPTIONS = {"HEARTBEAT": 600.0, "THREAD_IDLE": 0.05, "NOTIFIER": "local"}


@pytest.fixture
def configure(settings: Any, request: pytest.FixtureRequest) -> Iterator[options.Overrides]:
    """Changes settings and constants on top of ``OPTIONS``."""
    for change in options.configure(settings, OPTIONS, request):
        change()
        yield change


@pytest.fixture
async def live(
    configure: Callable[..., None], transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """Afterwards nothing of the test's runs goes on."""
    # The thread that renews leases stays for half a lease otherwise, and each test waits for it.
    monkeypatch.setattr(_executor("lease"), "_idle", 0.0)
    yield
    keeper = get_keeper()
    tasks = list(keeper.tasks.values())
    for task in tasks:
        task.interrupt()
    for task in tasks:
        await task.ended(60)
    for each in keeper._keeping.values():
        each.cancel()
    await asyncio.gather(*keeper._keeping.values(), return_exceptions=True)
    for thread in threading.enumerate():
        if thread.name.startswith("django_sse-") and thread.name != "django_sse-loop":
            await asyncio.to_thread(thread.join, 60)
