"""The keeper renews its lease and ends the runs of processes that died."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.db.models import F

from django_sse.dialects.plain import PLAIN
from django_sse.exceptions import LogUnavailable
from django_sse.log.model import ModelLog
from django_sse.models import Channel, Lease, Run
from django_sse.process import database, stopping
from django_sse.runs import ends, leases, store
from django_sse.runs import keeper as keeper_module
from django_sse.runs.keeper import Keeper, get_keeper
from django_sse.runs.leases import Seen
from django_sse.runs.task import RunTask
from tests.options import Overrides
from tests.unit.hub.support import eventually
from tests.unit.runs.support import (
    ABORTED,
    INTERRUPTED,
    TIMEOUT,
    Answer,
    anew_run,
    arecords,
    astate,
    begin,
    over,
    renew,
    terminals,
    tokens,
    until,
    watching,
)

pytestmark = pytest.mark.usefixtures("live")

# A lease of one second: even on a busy machine a look comes in each half of it.
OFTEN: dict[str, Any] = {"LEASE": 1.0, "UNWATCHED": 3600.0}


async def lease_of(run: Run) -> Seen:
    return (await database.run(leases.seen))[run.lease]


async def test_there_is_one_keeper_a_loop() -> None:
    keeper = get_keeper()
    assert get_keeper() is keeper

    async def another() -> Keeper:
        return get_keeper()

    assert await asyncio.to_thread(lambda: asyncio.run(another())) is not keeper


@pytest.mark.options(**OFTEN)
async def test_the_lease_of_its_runs_is_renewed_for_as_long_as_one_runs() -> None:
    answers = [Answer(), Answer()]
    first, second = [await begin(answer.items(1)) for answer in answers]
    assert first.run.lease == second.run.lease == get_keeper().lease
    before = await lease_of(first.run)
    async with asyncio.timeout(TIMEOUT):
        while await lease_of(first.run) == before:  # noqa: ASYNC110 - a row tells nobody
            await asyncio.sleep(0.02)
    assert await astate(first.run) == ""
    for answer, task in zip(answers, (first, second), strict=True):
        answer.go_on()
        await over(task)
        assert await astate(task.run) == "done"


@pytest.mark.options(**OFTEN)
async def test_runs_of_a_dead_process_are_ended_by_one_that_has_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost, orphan = await anew_run(), await anew_run(lease=uuid4())
    task = await begin(Answer().items())
    for run in (lost, orphan):
        await until(run, "error")
        (last,) = await arecords(run)
        assert json.loads(last.data) == INTERRUPTED
    assert await astate(task.run) == ""
    # The row is marked after the clients got the end, and then the lease is removed.
    await eventually(lambda: caplog.text.count("Ended runs whose process had died: 1.") == 2)
    async with asyncio.timeout(TIMEOUT):
        while set(await database.run(leases.seen)) != {task.run.lease}:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.options(**OFTEN)
async def test_runs_of_a_process_that_renews_are_left_alone() -> None:
    alive, lost = await anew_run(), await anew_run("user:2")
    await begin(Answer().items())
    async with asyncio.timeout(TIMEOUT):
        while await astate(lost) == "":
            await sync_to_async(renew)(alive)
            await asyncio.sleep(0.1)
    assert await astate(alive) == ""


@pytest.mark.options(**OFTEN)
async def test_a_process_that_asks_for_more_time_has_it() -> None:
    patient, lost = await anew_run(), await anew_run("user:2")
    await Lease.objects.filter(pk=patient.lease).aupdate(seconds=3600.0)
    await begin(Answer().items())
    await until(lost, "error")
    assert await astate(patient) == ""


class StuckLog(ModelLog):
    """Another transaction has locked some channels."""

    stuck: frozenset[str] = frozenset()

    def append_free(self, groups: Any) -> Any:
        if any(entry.channel in self.stuck for group in groups for entry in group):
            raise LogUnavailable("somebody holds this channel")
        return super().append_free(groups)


@pytest.mark.options(LOG=f"{__name__}.StuckLog", **OFTEN)
async def test_runs_that_cannot_be_ended_now_hide_no_other_and_are_ended_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, lost = [await anew_run(f"user:{n}") for n in range(2, 6)], await anew_run("user:9")
    monkeypatch.setattr(StuckLog, "stuck", frozenset(run.channel for run in stuck))
    await begin(Answer().items())
    await until(lost, "error")
    await eventually(lambda: "cannot be ended; retrying: somebody holds" in caplog.text)
    assert {await astate(run) for run in stuck} == {""}
    monkeypatch.setattr(StuckLog, "stuck", frozenset())
    for run in stuck:
        await until(run, "error")


@pytest.mark.options(**OFTEN)
async def test_a_lease_that_is_gone_before_a_run_begins_interrupts_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As in the tests of a project, whose loop outlives the transaction of each test."""
    keeper = get_keeper()
    keeper.stay()
    await over(await begin(tokens(1)))
    await Lease.objects.all().adelete()
    assert not keeper.tasks
    task = await begin(Answer().items())
    assert (await lease_of(task.run)).value is not None
    assert caplog.text == ""


@pytest.mark.options(**OFTEN)
async def test_a_run_that_was_stopped_has_its_lease_and_its_slot_until_its_thread_is_back() -> None:
    def stuck() -> Iterator[str]:
        yield "one"
        assert go_on.wait(TIMEOUT)

    go_on = threading.Event()
    task = await begin(stuck())
    await database.write(ends.stop, task.run)
    before = (await Lease.objects.aget(pk=task.run.lease)).value
    assert before is not None
    async with asyncio.timeout(TIMEOUT):
        while (await Lease.objects.aget(pk=task.run.lease)).value == before:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await database.run(store.under_way, task.run.lease) == [task.run.pk]
    go_on.set()
    await over(task)
    assert (await Run.objects.aget(pk=task.run.pk)).slot is None


@pytest.mark.options(**OFTEN)
async def test_the_slot_of_a_run_that_was_stopped_before_its_process_died_is_freed() -> None:
    lost = await anew_run("user:9")
    await database.write(ends.stop, lost)
    assert (await Run.objects.aget(pk=lost.pk)).slot is not None
    await begin(Answer().items())
    async with asyncio.timeout(TIMEOUT):
        while (await Run.objects.aget(pk=lost.pk)).slot is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await astate(lost) == "aborted"
    assert len(await arecords(lost)) == 1


@pytest.mark.options(**OFTEN)
async def test_a_client_of_a_run_whose_process_dies_gets_its_end() -> None:
    run = await anew_run("user:9")
    async with watching(run) as client:
        await client.opened()
        event = await client.next()
        assert (event.type, json.loads(event.data)) == ("error", INTERRUPTED)
        assert await client.rest() == []


@pytest.mark.options(**OFTEN)
async def test_the_keeper_goes_on_looking_after_the_client_has_left() -> None:
    run = await anew_run("user:9")
    async with watching(run) as client:
        await client.opened()
    assert not get_keeper()._watched
    await until(run, "error")


@pytest.mark.options(**OFTEN)
async def test_of_several_processes_that_find_it_one_ends_it() -> None:
    lost = await anew_run()

    def process() -> None:
        async def look() -> None:
            get_keeper().stay()
            await until(lost, "error")

        asyncio.run(look())

    await asyncio.gather(*[asyncio.to_thread(process) for _ in range(3)])
    records = await arecords(lost)
    assert len(records) == 1
    assert terminals(records) == records


@pytest.mark.options(**OFTEN)
async def test_without_runs_and_clients_it_stops_and_its_lease_is_gone() -> None:
    answer = Answer()
    task = await begin(answer.items(1))
    keeper = get_keeper()
    assert len(keeper._keeping) == 2
    answer.go_on()
    await over(task)
    async with asyncio.timeout(TIMEOUT):
        await asyncio.wait(keeper._keeping.values())
    assert (keeper.tasks, dict(keeper._watched), keeper.lease) == ({}, {}, None)
    assert not await Lease.objects.aexists()
    # And begins again with the next.
    again = await begin(Answer().items())
    assert not any(each.done() for each in keeper._keeping.values())
    assert again.run.lease not in {None, task.run.lease}


@pytest.mark.options(**OFTEN)
async def test_a_keeper_that_was_idle_checks_its_lease_before_a_run_begins() -> None:
    task = await begin(Answer().items())
    keeper = get_keeper()
    # The process was stopped, and a request comes before its keeper runs again.
    assert await database.run(leases.claim, task.run.lease, (await lease_of(task.run)).value)
    keeper._fresh_until = 0.0
    again = await begin(Answer().items())
    assert again.run.lease == keeper.lease != task.run.lease
    await over(task)
    assert (await astate(task.run), await astate(again.run)) == ("error", "")


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.options(**OFTEN)
async def test_taken_for_dead_it_ends_its_runs_says_so_and_goes_on_with_another_lease(
    removed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    answer = Answer()
    task = await begin(answer.items())
    lease = task.run.lease
    if removed:
        await Lease.objects.filter(pk=lease).adelete()
    else:
        await Lease.objects.filter(pk=lease).aupdate(value=None)
    await over(task)
    assert answer.notes == ["cancelled", "ended"]
    (*_, last) = await arecords(task.run)
    assert json.loads(last.data) == INTERRUPTED
    assert "taken this one for dead" in caplog.text
    again = await begin(Answer().items())
    assert again.run.lease != lease


@pytest.mark.options(LEASE=4.0)
async def test_taken_for_dead_it_says_so_even_if_its_runs_read_of_their_end_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = await begin(Answer().items())
    await Lease.objects.filter(pk=task.run.lease).aupdate(value=None)
    await asyncio.to_thread(ends.interrupt, [task.run])
    await over(task)
    await asyncio.wait(get_keeper()._keeping.values())
    assert caplog.text.count("taken this one for dead") == 1


@pytest.mark.options(**OFTEN)
async def test_one_that_begins_while_its_lease_is_lost_is_interrupted() -> None:
    answer = Answer()
    keeper = get_keeper()
    async with keeper.beginning() as lease:
        run = await anew_run(lease=lease)
        task = RunTask(run, PLAIN, on_error=lambda error: None)
        await task.start(answer.items(), keeper.remove)
        keeper._taken_for_dead()
        keeper.add(task)
    await over(task)
    assert await astate(run) == "error"


async def test_a_run_that_begins_between_two_leases_waits_for_the_second() -> None:
    first = await begin(Answer().items())
    # The run that this interrupts is not over yet, and the next lease is not registered.
    get_keeper()._taken_for_dead()
    second = await begin(Answer().items())
    assert second.run.lease == get_keeper().lease != first.run.lease


@pytest.mark.options(**OFTEN)
async def test_a_run_of_its_own_that_nothing_runs_is_ended() -> None:
    task = await begin(Answer().items())
    # Its row was committed after the error, or the run was abandoned.
    stray = await anew_run("user:2", lease=task.run.lease)
    await until(stray, "error")
    assert await astate(task.run) == ""


async def test_a_run_that_begins_while_one_of_the_two_ends_is_kept_by_both() -> None:
    await begin(Answer().items())
    keeper = get_keeper()
    renewing = keeper._keeping["_keep_lease"]
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


@pytest.mark.options(LEASE=1.0, UNWATCHED=1.0)
async def test_a_run_that_nobody_watches_is_cancelled() -> None:
    answer = Answer()
    task = await begin(answer.items(), while_connected=True)
    await over(task)
    assert answer.notes == ["cancelled", "ended"]
    (*_, last) = await arecords(task.run)
    assert json.loads(last.data) == ABORTED
    assert await astate(task.run) == "aborted"


@pytest.mark.options(LEASE=1.0, UNWATCHED=1.0)
async def test_one_that_may_go_on_alone_does() -> None:
    alone, connected = Answer(), Answer()
    task = await begin(alone.items())
    other = await begin(connected.items(), while_connected=True)
    await over(other)
    assert alone.notes == []
    assert await astate(task.run) == ""


@pytest.mark.options(LEASE=1.0, UNWATCHED=1.0)
async def test_one_that_is_watched_here_goes_on() -> None:
    watched, alone = Answer(), Answer()
    task = await begin(watched.items(), while_connected=True)
    async with watching(task.run) as client:
        await client.opened()
        await over(await begin(alone.items(), while_connected=True))
        assert watched.notes == []
    await over(task)
    assert watched.notes == ["cancelled", "ended"]


@pytest.mark.options(LEASE=1.0, UNWATCHED=1.0)
async def test_one_that_is_watched_in_another_process_goes_on() -> None:
    answer, alone = Answer(), Answer()
    task = await begin(answer.items(), while_connected=True)
    other = await begin(alone.items(), while_connected=True)
    async with asyncio.timeout(TIMEOUT):
        while not alone.ended.is_set():
            await database.write(store.watch, [task.run.pk])
            await asyncio.sleep(0.1)
    await over(other)
    assert answer.notes == []
    await over(task)
    assert answer.notes == ["cancelled", "ended"]


# -- clocks


@pytest.mark.parametrize("step", [timedelta(hours=1), -timedelta(hours=1), timedelta(days=5000)])
@pytest.mark.options(LEASE=1.0, UNWATCHED=1.0)
async def test_a_step_of_the_databases_clock_ends_nothing(step: timedelta) -> None:
    """All its times are another hour or another decade, as they are after the clock was set."""
    answers = [Answer(), Answer()]
    task = await begin(answers[0].items())
    connected = await begin(answers[1].items(), while_connected=True)
    lost = await anew_run("user:2")
    async with watching(connected.run) as client:
        await client.opened()
        await Run.objects.aupdate(created=F("created") + step)
        await Channel.objects.aupdate(created=F("created") + step)
        # This is as long as it takes to find a process that died.
        await until(lost, "error")
        assert [answer.notes for answer in answers] == [[], []]
    assert await astate(task.run) == await astate(connected.run) == ""


# -- a database that is away


async def test_a_database_that_is_away_is_asked_again(
    configure: Overrides, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    configure(**OFTEN)
    answer = Answer()
    task = await begin(answer.items())
    lost = await anew_run("user:9")
    # An error other than ``LogUnavailable`` would end a run that is still writing.
    await eventually(lambda: task._channel.position.seq == 1)
    # No such database, for a while.
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "DATABASE": "nowhere"}
    await eventually(lambda: "cannot be kept" in caplog.text)
    configure(**OFTEN)
    await until(lost, "error")
    assert answer.notes == []
    # It is logged once, not at each try.
    assert caplog.text.count("cannot be kept") <= 2


@pytest.mark.options(**OFTEN)
async def test_while_no_process_can_write_none_is_taken_for_dead() -> None:
    """SQLite's only lock is held, so that all writes wait for longer than a lease."""
    answer = Answer()
    task = await begin(answer.items())
    other, lost = await anew_run("user:2"), await anew_run("user:3")
    with a_write_lock() as release:
        await begin_nothing_for(2 * OFTEN["LEASE"])
        release()
    # The other process had to wait, too, and renews now.
    async with asyncio.timeout(TIMEOUT):
        while await astate(lost) == "":
            assert await sync_to_async(renew)(other)
            await asyncio.sleep(0.1)
    assert await astate(other) == await astate(task.run) == ""


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
