from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from django_sse.exceptions import LogUnavailable
from django_sse.process import supervision
from django_sse.process.supervision import supervise
from tests.unit.hub.support import TIMEOUT


class Work:
    """Fails as often as there are errors, and goes on then until it is cancelled."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.runs = 0
        self.going = asyncio.Event()
        self.cancelled = False

    async def some_work(self) -> None:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)
        self.going.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "RESTART_PAUSE", 0.01)


async def run(work: Callable[[], Awaitable[None]], going: asyncio.Event) -> asyncio.Task[None]:
    task = asyncio.create_task(supervise(work))
    async with asyncio.timeout(TIMEOUT):
        await going.wait()
    return task


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_work_that_dies_is_started_again_and_said_to_have(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work(ValueError("no pulse"), RuntimeError("nor this"))
    task = await run(work.some_work, work.going)
    assert work.runs == 3
    assert "The task some_work died. It will be restarted." in caplog.text
    assert "no pulse" in caplog.text
    assert "nor this" in caplog.text
    await cancel(task)


async def test_a_log_that_is_away_is_a_warning_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work(LogUnavailable("gone away"))
    task = await run(work.some_work, work.going)
    (record,) = [each for each in caplog.records if each.name == "django_sse"]
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert record.getMessage() == "The task some_work waits for the log: gone away"
    await cancel(task)


async def test_a_cancellation_of_something_else_is_an_error_like_any_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work(asyncio.CancelledError("of a task of the transport's"))
    task = await run(work.some_work, work.going)
    assert work.runs == 2
    assert "some_work died" in caplog.text
    await cancel(task)


async def test_its_own_cancellation_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    task = await run(work.some_work, work.going)
    await cancel(task)
    assert (work.runs, work.cancelled) == (1, True)
    assert caplog.records == []


async def test_work_that_returns_is_done_again() -> None:
    going = asyncio.Event()
    runs = 0

    async def short() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            going.set()

    await cancel(await run(short, going))
    assert runs >= 3
