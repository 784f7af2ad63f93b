"""Who renews the leases of a process's runs, and ends those of processes that died."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from django_sse.models import Run
from django_sse.process import database, stopping
from django_sse.runs import keeper as keeper_module
from django_sse.runs import store
from django_sse.runs.keeper import Keeper, get_keeper
from tests.options import Overrides
from tests.unit.hub.support import eventually
from tests.unit.runs.support import (
    ABORTED,
    INTERRUPTED,
    TIMEOUT,
    Answer,
    aage,
    arecords,
    astate,
    begin,
    over,
    terminals,
    watching,
)

pytestmark = pytest.mark.usefixtures("live")

OFTEN: dict[str, Any] = {"LEASE": 0.6, "UNWATCHED": 3600.0}


async def dead(owner: str = "user:9", *, while_connected: bool = False) -> Run:
    """A run whose process was killed a while ago."""
    run = await database.run(
        lambda: store.create(owner, dialect="plain", while_connected=while_connected)
    )
    await aage(1000, run)
    return run


async def until(run: Run, state: str) -> None:
    """Returns once the log says so."""
    async with asyncio.timeout(TIMEOUT):
        while await astate(run) != state:  # noqa: ASYNC110 - the log tells nobody here
            await asyncio.sleep(0.02)


async def test_there_is_one_keeper_a_loop() -> None:
    keeper = get_keeper()
    assert get_keeper() is keeper

    async def another() -> Keeper:
        return get_keeper()

    assert await asyncio.to_thread(lambda: asyncio.run(another())) is not keeper


@pytest.mark.options(**OFTEN)
async def test_the_lease_of_a_run_is_renewed_for_as_long_as_it_runs() -> None:
    answer = Answer()
    task = await begin(answer.items(1))
    first = (await Run.objects.aget(pk=task.run.pk)).lease
    async with asyncio.timeout(TIMEOUT):
        while (await Run.objects.aget(pk=task.run.pk)).lease <= first:  # noqa: ASYNC110 - a row tells nobody
            await asyncio.sleep(0.02)
    assert await astate(task.run) == ""
    answer.go_on()
    await over(task)
    assert await astate(task.run) == "done"


@pytest.mark.options(**OFTEN)
async def test_a_run_of_a_dead_process_is_ended_by_one_that_has_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = await dead()
    answer = Answer()
    task = await begin(answer.items())
    await until(lost, "error")
    (last,) = await arecords(lost)
    assert json.loads(last.data) == INTERRUPTED
    assert await astate(task.run) == ""
    # The log says so after the clients know.
    await eventually(lambda: "Ended runs whose process had died: 1." in caplog.text)


@pytest.mark.options(**OFTEN)
async def test_a_client_of_a_run_whose_process_dies_is_told() -> None:
    run = await database.run(
        lambda: store.create("user:9", dialect="plain", while_connected=False),
    )
    async with watching(run) as client:
        await client.opened()
        await aage(1000, run)
        event = await client.next()
        assert (event.type, json.loads(event.data)) == ("error", INTERRUPTED)
        assert await client.rest() == []


@pytest.mark.options(**OFTEN)
async def test_of_several_processes_that_find_it_one_ends_it() -> None:
    lost = await dead()

    def process() -> None:
        async def look() -> None:
            await get_keeper()._look()

        asyncio.run(look())

    await asyncio.gather(*[asyncio.to_thread(process) for _ in range(4)])
    records = await arecords(lost)
    assert len(records) == 1
    assert terminals(records) == records


@pytest.mark.options(**OFTEN)
async def test_without_runs_and_clients_it_stops() -> None:
    answer = Answer()
    task = await begin(answer.items(1))
    keeper = get_keeper()
    assert len(keeper._keeping) == 2
    answer.go_on()
    await over(task)
    async with asyncio.timeout(TIMEOUT):
        await asyncio.wait(keeper._keeping.values())
    assert (keeper.tasks, dict(keeper._watched)) == ({}, {})
    # And begins again with the next.
    await begin(Answer().items())
    assert not any(each.done() for each in keeper._keeping.values())


async def test_a_run_that_begins_while_one_of_the_two_ends_is_kept_by_both() -> None:
    await begin(Answer().items())
    keeper = get_keeper()
    renewing = keeper._keeping["_renew"]
    renewing.cancel()
    await asyncio.wait({renewing})
    await begin(Answer().items())
    assert not any(each.done() for each in keeper._keeping.values())


async def test_each_client_that_leaves_is_one_less() -> None:
    keeper = get_keeper()
    run = Run()
    keeper.watch(run)
    keeper.watch(run)
    keeper.unwatch(run)
    assert keeper._watched == {run.pk: 1}
    keeper.unwatch(run)
    assert run.pk not in keeper._watched


# -- runs that only go on for somebody


@pytest.mark.options(LEASE=0.6, UNWATCHED=0.6)
async def test_a_run_that_nobody_watches_is_cancelled() -> None:
    answer = Answer()
    task = await begin(answer.items(), while_connected=True)
    await over(task)
    assert answer.notes == ["cancelled", "ended"]
    (*_, last) = await arecords(task.run)
    assert json.loads(last.data) == ABORTED
    assert await astate(task.run) == "aborted"


@pytest.mark.options(LEASE=0.6, UNWATCHED=0.6)
async def test_one_that_may_go_on_alone_does() -> None:
    alone, connected = Answer(), Answer()
    task = await begin(alone.items())
    other = await begin(connected.items(), while_connected=True)
    await over(other)
    assert alone.notes == []
    assert await astate(task.run) == ""


@pytest.mark.options(LEASE=0.6, UNWATCHED=0.6)
async def test_one_that_is_watched_here_goes_on() -> None:
    watched, alone = Answer(), Answer()
    task = await begin(watched.items(), while_connected=True)
    async with watching(task.run) as client:
        await client.opened()
        await over(await begin(alone.items(), while_connected=True))
        assert watched.notes == []
    await over(task)
    assert watched.notes == ["cancelled", "ended"]


@pytest.mark.options(LEASE=0.6, UNWATCHED=0.6)
async def test_one_that_is_watched_in_another_process_goes_on() -> None:
    answer = Answer()
    task = await begin(answer.items(), while_connected=True)
    other = Keeper(asyncio.get_running_loop())
    for _ in range(10):
        await database.write(store.renew, [], [task.run.pk])
        await aage(0.4, task.run)
        await get_keeper()._cancel_unwatched()
        await other._cancel_unwatched()
    assert answer.notes == []


# -- a database that is away


async def test_a_database_that_is_away_is_asked_again(
    configure: Overrides, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    configure(**OFTEN)
    answer = Answer()
    await begin(answer.items())
    lost = await dead()
    # No such database, for a while.
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "DATABASE": "nowhere"}
    await eventually(lambda: "could not be kept" in caplog.text)
    configure(**OFTEN)
    await until(lost, "error")
    assert answer.notes == []


@pytest.mark.options(**OFTEN)
async def test_after_an_outage_others_have_a_moment_to_renew_theirs() -> None:
    lost = await dead()
    keeper = Keeper(asyncio.get_running_loop())
    keeper._trust_later()
    await keeper._look()
    assert await astate(lost) == ""
    keeper._trusted_from = 0.0
    await keeper._look()
    assert await astate(lost) == "error"


# -- the end of the process


async def test_interrupted_from_any_thread_all_runs_say_so_and_end() -> None:
    answers = [Answer() for _ in range(3)]
    tasks = [await begin(answer.items()) for answer in answers]
    await asyncio.to_thread(get_keeper().interrupt)
    for task, answer in zip(tasks, answers, strict=True):
        await over(task)
        assert answer.notes == ["cancelled", "ended"]
        (*_, last) = await arecords(task.run)
        assert json.loads(last.data) == INTERRUPTED


@pytest.mark.options(GRACE=7.5)
async def test_the_server_is_told_that_there_is_work_to_finish() -> None:
    (work,) = stopping._work
    assert isinstance(work, keeper_module._Grace)
    assert work.seconds == 7.5
    assert not work.busy()
    answer = Answer()
    task = await begin(answer.items())
    assert work.busy()
    await asyncio.to_thread(work.interrupt)
    await over(task)
    await eventually(lambda: not work.busy())
    assert await astate(task.run) == "error"


async def test_the_keeper_of_a_closed_loop_takes_everything_in_silence() -> None:
    async def use() -> Keeper:
        return get_keeper()

    keeper = await asyncio.to_thread(lambda: asyncio.run(use()))
    keeper.interrupt()
    assert keeper.tasks == {}


# -- a database that keeps everybody waiting


@pytest.mark.options(**OFTEN)
async def test_while_it_waits_to_renew_its_own_it_believes_nothing_of_others() -> None:
    keeper = Keeper(asyncio.get_running_loop())
    assert keeper._trusts()
    keeper._renewing_since = keeper.loop.time() - 10
    assert not keeper._trusts()
    lost = await dead()
    await keeper._look()
    assert await astate(lost) == ""
    keeper._renewing_since = None
    await keeper._look()
    assert await astate(lost) == "error"


@pytest.mark.options(**OFTEN)
async def test_a_renewal_that_took_long_is_no_reason_to_end_others() -> None:
    await begin(Answer().items())
    keeper = Keeper(asyncio.get_running_loop())
    keeper.tasks = get_keeper().tasks
    with a_write_lock() as release:
        renewing = asyncio.create_task(keeper._renew())
        await begin_nothing_for(keeper_module._interval() * 2)
        release()
    await renewing
    assert not keeper._trusts()


@pytest.mark.options(**OFTEN)
async def test_one_that_could_not_be_claimed_in_time_is_looked_at_again_later() -> None:
    lost = await dead()
    with a_write_lock() as release:
        ending = asyncio.create_task(database.run(keeper_module.end_if_lost, lost))
        await begin_nothing_for(keeper_module._interval() * 2)
        release()
    await ending
    # Whoever has it may have waited for the same lock.
    assert await astate(lost) == ""
    await aage(1000, lost)
    await database.run(keeper_module.end_if_lost, lost)
    assert await astate(lost) == "error"


@contextmanager
def a_write_lock() -> Iterator[Callable[[], None]]:
    """SQLite's only one, held by another connection until it is released."""
    name = connection.settings_dict["NAME"]
    other = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other.rollback
    finally:
        other.close()


async def begin_nothing_for(seconds: float) -> None:
    # What is waited for is that time goes by for who waits for the lock.
    await asyncio.sleep(seconds)
