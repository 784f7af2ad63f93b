"""When a run writes: at once after a quiet moment, together under load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from django_sse.runs.pace import Pace
from tests.options import Overrides

# Long enough that nothing of a busy machine is taken for it, s.
COALESCE = 0.5
TIMEOUT = 60.0


@pytest.fixture
async def paces(constants: Overrides) -> AsyncIterator[list[Pace]]:
    """Of two runs under way."""
    constants(COALESCE=COALESCE)
    found = [Pace(), Pace()]
    for each in found:
        each.begin()
    yield found
    for each in found:
        each.end()


async def seconds_until_due(pace: Pace) -> float:
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(TIMEOUT):
        await pace.due()
    return loop.time() - started


async def test_the_first_is_written_at_once(paces: list[Pace]) -> None:
    pace, _ = paces
    pace.come()
    assert await seconds_until_due(pace) < COALESCE


async def test_the_next_waits_for_more(paces: list[Pace]) -> None:
    pace, _ = paces
    pace.come()
    await pace.due()
    pace.take(1)
    pace.come()
    pace.come()
    assert await seconds_until_due(pace) > 2 * COALESCE
    pace.take(2)


async def test_what_is_urgent_does_not_wait_and_is_due_once(paces: list[Pace]) -> None:
    pace, _ = paces
    pace.take(1)
    pace.come()
    pace.hurry()
    assert await seconds_until_due(pace) < COALESCE
    waiting = asyncio.ensure_future(pace.due())
    # Longer than what it would have waited for.
    assert not (await asyncio.wait({waiting}, timeout=4 * COALESCE))[0]
    pace.hurry()
    async with asyncio.timeout(TIMEOUT):
        await waiting


async def test_one_does_not_wait_for_the_others(paces: list[Pace]) -> None:
    pace, other = paces
    pace.take(1)
    other.come()
    assert await seconds_until_due(other) < COALESCE


async def test_who_is_faster_than_anybody_reads_shares_the_appends_of_the_process(
    paces: list[Pace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs, with an append in two seconds to share."""
    monkeypatch.setattr("django_sse.runs.pace._APPENDS", 0.5)
    pace, other = paces
    pace.take(1)
    pace.take(1000)
    pace.come()
    assert await seconds_until_due(pace) > 6 * COALESCE
    # One that has one now and then does not.
    other.take(1)
    other.come()
    assert await seconds_until_due(other) < 6 * COALESCE


async def test_runs_that_have_ended_have_no_share(
    paces: list[Pace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_sse.runs.pace._APPENDS", 0.5)
    pace, other = paces
    other.end()
    pace.take(1)
    pace.take(1000)
    pace.come()
    assert await seconds_until_due(pace) < 6 * COALESCE
