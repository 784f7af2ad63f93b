"""A channel whose row stays locked delays its own publishers, and no others."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction

from django_sse import apublish, apublish_many, group_commit, publish, publish_many, redact
from django_sse.exceptions import ChannelLocked, LogUnavailable
from django_sse.hub.orphans import Orphans
from django_sse.log import get_log, sequencer
from django_sse.log.model import ModelLog
from django_sse.log.orm import channel_hash
from django_sse.models import Channel
from django_sse.runs import store
from tests.appending import append_to
from tests.options import Overrides
from tests.unit.hub.support import eventually
from tests.unit.log.support import (
    ON_A_DATABASE,
    TIMEOUT,
    assert_dense,
    elsewhere,
    entry,
    everything,
    in_threads,
    orphan,
    texts,
    until_somebody_waits_for_a_lock,
)
from tests.unit.runs.support import die, new_run

pytestmark = ON_A_DATABASE


class Holder:
    """Another client of the database that holds locks of channels' rows: a thread with its own
    connection."""

    def __init__(self, *channels: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._do(lambda: connection.set_autocommit(False))
        for channel in channels:
            self.execute(
                "SELECT id FROM django_sse_channel WHERE name_hash = %s FOR UPDATE",
                channel_hash(channel),
            )

    def _do(self, call: Callable[[], Any]) -> Any:
        return self._thread.submit(call).result(TIMEOUT)

    def execute(self, sql: str, *params: Any) -> None:
        self._do(partial(execute, sql, *params))

    def commit(self) -> None:
        self._do(_commit)

    def roll_back(self) -> None:
        self._do(_roll_back)

    def leave(self) -> None:
        # Without this the server would release the rows only a moment after the client is gone.
        self.roll_back()
        self._do(connections.close_all)
        self._thread.shutdown()


def _commit() -> None:
    connection.commit()


def _roll_back() -> None:
    connection.rollback()


@contextmanager
def held(*channels: str) -> Iterator[Holder]:
    """Another client has locked the channels' rows until it releases them or the block ends."""
    make(*channels)
    holder = Holder(*channels)
    try:
        yield holder
    finally:
        holder.leave()


def make(*channels: str) -> None:
    elsewhere(partial(get_log().make, channels))


def waiting() -> int:
    """The number of calls in the slow lane."""
    return len(group_commit._writer._slow_lane._calls)


def _more_wait(before: int) -> bool:
    return waiting() > before


async def in_slow_lane(*calls: Any) -> list[asyncio.Task[Any]]:
    """Tasks of ``calls``, each begun once the one before is in the slow lane."""
    tasks = []
    for call in calls:
        tasks.append(asyncio.create_task(call))
        await eventually(partial(_more_wait, waiting()))
    return tasks


def execute(sql: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


async def read(channel: str) -> list[str]:
    return await asyncio.to_thread(elsewhere, partial(texts, get_log(), channel))


@pytest.fixture(autouse=True)
def nothing_waits(constants: Overrides) -> Iterator[None]:
    constants(THREAD_IDLE=0.05)
    yield
    assert waiting() == 0
    # They would keep the connection's settings for the next module, which has another database.
    for thread in threading.enumerate():
        if thread.name in ("django_sse-slow-lane", "django_sse-group-commit"):
            thread.join(TIMEOUT)


# -- others


async def test_publishers_to_other_channels_go_on() -> None:
    with held("b") as holder:
        (stuck,) = await in_slow_lane(apublish("b", "1"))
        for number in range(10):
            await apublish("a", str(number))
            await apublish_many([("a", "x"), ("c", str(number))])
        assert not stuck.done()
        holder.commit()
        assert await stuck
    assert (await read("b"), len(await read("a"))) == (["1"], 20)


async def test_a_call_over_a_locked_channel_does_not_delay_others_on_its_other_channels() -> None:
    with held("b") as holder:
        stuck = asyncio.create_task(asyncio.to_thread(publish_many, [("a", "m"), ("b", "m")]))
        await asyncio.to_thread(until_somebody_waits_for_a_lock)
        for number in range(5):
            await apublish("a", str(number))
            await asyncio.to_thread(publish, "a", str(number))
        assert not stuck.done()
        holder.commit()
        await stuck
    assert (await read("a"))[-1] == "m"
    assert await read("b") == ["m"]


async def test_a_channel_whose_creation_is_not_committed_delays_no_other() -> None:
    with held("a") as holder:
        holder.execute(
            "INSERT INTO django_sse_channel (name, name_hash, epoch, head, head_tag, floor, "
            "floor_tag, state, redactions, created) "
            "SELECT 'new', %s, 'e', 0, '0', 0, '0', '', 0, created FROM django_sse_channel",
            channel_hash("new"),
        )
        (stuck,) = await in_slow_lane(apublish("new", "1"))
        for number in range(5):
            await apublish("c", "x")
            # With one more channel to create.
            await apublish(f"new-{number}", "x")
        assert not stuck.done()
        holder.roll_back()
        assert await stuck
    assert await read("new") == ["1"]


# -- order


async def test_each_channel_keeps_the_order_of_the_calls(model_log: ModelLog) -> None:
    chance = random.Random(1)
    make(*"abcd")
    calls = [chance.sample("abcd", chance.choice([1, 1, 2, 3])) for _ in range(60)]
    with held("b") as holder:
        tasks = []
        for number, channels in enumerate(calls):
            call = apublish_many([(channel, str(number)) for channel in channels])
            tasks.append(asyncio.create_task(call))
            await asyncio.sleep(0.002 * (number % 3 == 0))
        first = next(number for number, channels in enumerate(calls) if "b" in channels)
        await asyncio.gather(*tasks[:first])
        holder.commit()
        await asyncio.gather(*tasks)
    for name in "abcd":
        expected = [str(number) for number, channels in enumerate(calls) if name in channels]
        assert await read(name) == expected


async def test_later_calls_wait_behind_a_call_over_several_channels() -> None:
    with held("b") as holder:
        tasks = await in_slow_lane(
            apublish("b", "1"), apublish_many([("a", "2"), ("b", "2")]), apublish("a", "3")
        )
        await apublish("c", "4")
        assert not any(task.done() for task in tasks)
        holder.commit()
        await asyncio.gather(*tasks)
    assert (await read("a"), await read("b")) == (["2", "3"], ["1", "2"])


# -- callers that leave, and callers that are refused


def looks(channel: str, count: int) -> list[bool]:
    """Whether no transaction had locked the channel's row, each time that this one looked."""
    found = []
    for _ in range(count):
        with transaction.atomic():
            rows = Channel.objects.filter(name_hash=channel_hash(channel))
            found.append(bool(rows.select_for_update(skip_locked=True)))
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("how", ["publish_many", "apublish_many"])
async def test_a_call_that_waits_for_a_channel_has_not_locked_another(how: str) -> None:
    make("a")
    with held("b") as holder:
        both = [("a", "m"), ("b", "m")]
        if how == "publish_many":
            stuck = asyncio.create_task(asyncio.to_thread(publish_many, both))
            await asyncio.to_thread(until_somebody_waits_for_a_lock)
        else:
            (stuck,) = await in_slow_lane(apublish_many(both))
        # As long as two of its waits: between them it tries "a", too, for a moment.
        free = await asyncio.to_thread(elsewhere, partial(looks, "a", 200))
        holder.commit()
        await stuck
    assert free.count(True) > len(free) / 2


async def test_a_caller_that_leaves_is_not_published_and_those_behind_it_are() -> None:
    with held("b") as holder:
        stays, leaves, stays_too = await in_slow_lane(
            apublish("b", "1"), apublish_many([("a", "never"), ("b", "never")]), apublish("b", "2")
        )
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        await apublish("a", "1")
        holder.commit()
        await asyncio.gather(stays, stays_too)
    assert (await read("a"), await read("b")) == (["1"], ["1", "2"])


async def test_the_wait_for_a_lock_ends_and_the_error_names_the_channel(
    constants: Overrides,
) -> None:
    constants(LOCK_WAIT=1.0)
    both = [("a", "never"), ("b", "never")]
    with held("b"):
        calls = [apublish("b", "never"), apublish_many(both)]
        calls += [asyncio.to_thread(publish, "b", "never"), asyncio.to_thread(publish_many, both)]
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, LogUnavailable) and "'b'" in str(each) for each in found)
    assert await apublish_many([("a", "1"), ("b", "1")])
    assert (await read("a"), await read("b")) == (["1"], ["1"])


async def test_no_setting_of_the_session_is_left_changed(constants: Overrides) -> None:
    constants(LOCK_WAIT=1.0)
    question = {
        "postgresql": "SHOW lock_timeout",
        "mysql": "SELECT @@innodb_lock_wait_timeout",
    }

    def setting() -> Any:
        with connection.cursor() as cursor:
            cursor.execute(question[connection.vendor])
            return cursor.fetchone()

    def wait() -> tuple[Any, Any]:
        before = setting()
        with pytest.raises(ChannelLocked):
            publish("b", "never")
        return before, setting()

    with held("b"):
        before, after = await asyncio.to_thread(elsewhere, wait)
    assert before == after


# -- how it ends


ENDS = {"commits": True, "rolls_back": False, "is_killed": False}


@pytest.mark.parametrize("end", ENDS)
async def test_a_publisher_that_froze_loses_and_doubles_nothing(
    model_log: ModelLog, end: str
) -> None:
    frozen, go_on = threading.Event(), threading.Event()
    sessions: list[Any] = []
    make("a", "b")
    elsewhere(lambda: orphan(model_log, entry("b", "deferred")))

    def freeze() -> None:
        sessions.append(connection.connection)
        frozen.set()
        assert go_on.wait(TIMEOUT)
        if end == "rolls_back":
            raise KeyError

    def append() -> None:
        def take(locked: Any, skipped: Any) -> None:
            locked["b"].append(entry("b", "frozen"))

        with suppress(KeyError, LogUnavailable):
            sequencer.sequence("default", ["b"], take, freeze, wait=TIMEOUT)

    publisher = asyncio.create_task(asyncio.to_thread(elsewhere, append))
    await asyncio.to_thread(frozen.wait, TIMEOUT)
    tasks = await in_slow_lane(*[apublish("b", str(number)) for number in range(5)])
    threads = [asyncio.to_thread(elsewhere, partial(publish, "b", f"t{n}")) for n in range(2)]
    tasks += [asyncio.create_task(each) for each in threads]
    await apublish("a", "x")
    if end == "is_killed":
        number = sessions[0].info.backend_pid if connection.vendor == "postgresql" else None
        number = number or sessions[0].thread_id()
        sql = "SELECT pg_terminate_backend(%s)" if connection.vendor == "postgresql" else "KILL %s"
        elsewhere(partial(execute, sql, number))
        # Its client is alive, but does not know yet.
        await asyncio.gather(*tasks)
    go_on.set()
    await publisher
    await asyncio.gather(*tasks)
    found = await read("b")
    assert found[: 1 + ENDS[end]] == ["deferred", *["frozen"] * ENDS[end]]
    assert sorted(found[1 + ENDS[end] :]) == [*"01234", "t0", "t1"]
    assert [each for each in found if each in "01234"] == [*"01234"]
    elsewhere(lambda: assert_dense(everything(model_log, "b")))


# -- many


async def test_one_of_a_hundred_stuck_channels_goes_on_when_it_is_released() -> None:
    stuck = [f"stuck-{number}" for number in range(100)]
    # Before any is held: where an earlier test's row of a name was deleted and not yet purged,
    # InnoDB's check for duplicates also waits for the lock of the next row.
    make(*stuck, "b")
    with held(*stuck), held("b") as holder:
        tasks = [asyncio.create_task(apublish(name, "1")) for name in stuck]
        await eventually(lambda: waiting() == 100)
        (task,) = await in_slow_lane(apublish("b", "1"))
        await apublish("a", "1")
        holder.commit()
        assert await task
        assert waiting() == 100
        # And they do not delay a busy one.
        for number in range(5):
            with held("b") as holder:
                (task,) = await in_slow_lane(apublish("b", str(number)))
                holder.commit()
                await task
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks)
        await eventually(lambda: waiting() == 0)
    await asyncio.gather(*[apublish(name, "2") for name in stuck])
    assert await read("stuck-99") == ["2"]


def test_a_hundred_stuck_channels_do_not_hide_the_next_orphan(model_log: ModelLog) -> None:
    names = [f"channel-{number}" for number in range(110)]
    model_log.make(names)
    orphan(model_log, *[entry(name, "1") for name in names])
    # The log looks for them in the order of the hashes.
    *stuck, last = sorted(names, key=channel_hash)
    with held(*stuck):
        elsewhere(Orphans().sequence)
        assert elsewhere(partial(texts, model_log, last)) == ["1"]
    Orphans().sequence()
    assert model_log.orphans() == []


# -- after a commit


def test_the_hooks_after_a_commit_do_not_wait_for_ever_and_leave_the_rest(
    model_log: ModelLog, caplog: pytest.LogCaptureFixture
) -> None:
    model_log.make("abc")

    def commit() -> None:
        with transaction.atomic():
            for number in range(20):
                publish("b", str(number))
                publish("c", str(number))
                publish("a", str(number))

    with held("b", "c") as holder:
        # If each of its hooks waited by itself, this would fail.
        elsewhere(commit)
        assert len(elsewhere(partial(texts, model_log, "a"))) == 20
        assert sorted(model_log.orphans()) == ["b", "c"]
        holder.commit()
    assert "ERROR" not in caplog.text
    Orphans().sequence()
    for name in "bc":
        assert texts(model_log, name) == [str(number) for number in range(20)]


# -- what is not a publish


def test_a_locked_channel_is_not_redacted_or_trimmed_but_the_others_are(
    model_log: ModelLog, constants: Overrides
) -> None:
    constants(LOCK_WAIT=1.0)
    for name in "abc":
        publish_many([(name, "1"), (name, "2")])
    with held("b"):
        errors = StringIO()
        trim = partial(call_command, "sse_trim", count=1, stdout=StringIO(), stderr=errors)
        elsewhere(trim)
        with pytest.raises(ChannelLocked):
            elsewhere(partial(redact, "b", 2))
    assert "'b' is locked" in errors.getvalue()
    assert [texts(model_log, name) for name in "ac"] == [["2"], ["2"]]
    assert redact("b", 2)


# -- busy channels


def test_no_publisher_to_busy_channels_starves(model_log: ModelLog) -> None:
    model_log.make("ab")
    done = threading.Event()
    counts: dict[str, int] = dict.fromkeys(["a", "b", "ab", "ba"], 0)

    def write(names: str) -> None:
        while not done.is_set():
            append_to(model_log, [entry(name, names) for name in names])
            counts[names] += 1
            if min(counts.values()) >= 15:
                done.set()

    in_threads(*[partial(write, names) for names in [*counts, "a", "b"]])
    for name in "ab":
        assert_dense(everything(model_log, name))


def test_a_dead_process_whose_run_is_locked_does_not_delay_the_end_of_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stuck, other = new_run("user:1"), new_run("user:2")
    with held(stuck.channel):
        die(stuck, other)
        assert [store.state(run)[0] for run in (stuck, other)] == ["", "error"]
        # A vanished host may keep the lock for hours.
        die(stuck)
        assert caplog.text.count("is left for the next time") == 1
    die(stuck)
    assert store.state(stuck)[0] == "error"
