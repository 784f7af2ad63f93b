from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from django_sse.notifiers.local import LocalNotifier
from tests.unit.hub.conftest import configure, log, notifier
from tests.unit.hub.support import WatchedLog, commit, commit_elsewhere, texts
from tests.unit.hub.support import listening as stream_of
from tests.unit.notifiers.support import listening

__all__ = ["configure", "log", "notifier"]

LOCAL = "django_sse.notifiers.local.LocalNotifier"


async def test_it_never_wakes_anybody() -> None:
    async with listening(LocalNotifier()) as ear:
        await asyncio.sleep(0)
        assert ear.heard == []


def test_it_does_not_claim_to_hear_other_processes() -> None:
    assert not LocalNotifier.supports_other_processes


async def test_this_process_needs_no_notifier(
    log: WatchedLog, configure: Callable[..., None]
) -> None:
    configure(NOTIFIER="local")
    async with stream_of("a") as client:
        commit("a", "1")
        assert texts([await client.next()]) == ["1"]


async def test_another_process_is_found_by_the_safety_poll(
    log: WatchedLog, configure: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    configure(NOTIFIER="local", SAFETY_INTERVAL=0.02)
    async with stream_of("a") as client:
        commit_elsewhere("a", "1")
        assert texts([await client.next()]) == ["1"]
    assert caplog.records == []


async def test_a_stream_opens_without_waiting_for_it(
    log: WatchedLog, configure: Callable[..., None]
) -> None:
    configure(NOTIFIER=LOCAL)
    loop = asyncio.get_running_loop()
    async with stream_of("a"):
        started = loop.time()
        async with stream_of("b"):
            # Far below the second after which a hub stops waiting for a notifier.
            assert loop.time() - started < 0.9
