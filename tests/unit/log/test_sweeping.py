"""Trimming many channels, and removing the rows of those that are no longer needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_sse.exceptions import ChannelFinished
from django_sse.internal_channels import internal_channel
from django_sse.log import EventLog, sweeping
from django_sse.log.attempts import Attempt, Rewound
from django_sse.log.model import ModelLog
from django_sse.log.retention import Limits, Swept
from django_sse.models import Channel, StoredEvent
from django_sse.publishing import apublish, publish
from tests.appending import append_to, finish_in
from tests.options import Overrides
from tests.unit.log.support import (
    age,
    age_row,
    elsewhere,
    entry,
    everything,
    in_threads,
    locked,
    orphan,
    skip_unless_writers_overlap,
    terminal,
    texts,
    until_somebody_waits_for_a_lock,
)

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["django_sse"])

DAY = timedelta(days=1)
WEEK = Limits(age=7 * DAY, row_age=7 * DAY)


def add(log: EventLog, channel: str, *ages: int, end: bool = False) -> None:
    """Append an event for each of these ages in days, the oldest first."""
    entries = [entry(channel, str(number)) for number in range(1, len(ages) + 1)]
    if end:
        entries[-1] = terminal(channel)
    append_to(log, entries)
    for seq, days in reversed(list(enumerate(ages, start=1))):
        before = ages[seq] if seq < len(ages) else 0
        age(log, channel, (days - before) * DAY, seq)


def seqs(log: EventLog, channel: str) -> list[int]:
    return [each.seq for each in everything(log, channel)]


def swept(log: EventLog, limits: Limits, *names: str, **options: Any) -> tuple[int, int]:
    """Sweep, after a dry run that must say the same."""
    told = log.sweep(limits, names, dry_run=True, **options)
    before = {name: seqs(log, name) for name in log.channels()}
    assert before == {name: seqs(log, name) for name in log.channels()}
    found = log.sweep(limits, names, **options)
    assert found == told
    assert found.locked == []
    assert log.sweep(limits, names, dry_run=True, **options) == Swept()
    return found.events, found.channels


# -- events


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        (Limits(), {"young": [1, 2], "mixed": [1, 2, 3], "old": [1, 2]}),
        (Limits(age=7 * DAY), {"young": [1, 2], "mixed": [2, 3], "old": []}),
        (Limits(count=1), {"young": [2], "mixed": [3], "old": [2]}),
        (Limits(count=2), {"young": [1, 2], "mixed": [2, 3], "old": [1, 2]}),
        (Limits(count=0), {"young": [], "mixed": [], "old": []}),
        (Limits(age=7 * DAY, count=1), {"young": [2], "mixed": [3], "old": []}),
        (Limits(age=7 * DAY, count=10**30), {"young": [1, 2], "mixed": [2, 3], "old": []}),
        (Limits(age=timedelta(0)), {"young": [], "mixed": [], "old": []}),
    ],
)
def test_each_channel_loses_what_is_beyond_the_limits(
    log: EventLog, limits: Limits, left: dict[str, list[int]]
) -> None:
    add(log, "young", 1, 0)
    add(log, "mixed", 9, 3, 1)
    add(log, "old", 30, 8)
    log.make(["without events"])
    positions = {name: head.position for name, head in log.heads(left).items()}
    events = sum(map(len, [[1, 2], [1, 2, 3], [1, 2]])) - sum(map(len, left.values()))
    assert swept(log, limits) == (events, 0)
    assert {name: seqs(log, name) for name in left} == left
    for name, head in log.heads(left).items():
        assert head.position == positions[name]
        # Who has had all events has missed none.
        assert head.tag(head.floor) == head.floor_tag
        assert head.floor == head.head - len(left[name])


def test_a_channel_with_many_events_loses_them_too(log: EventLog) -> None:
    for name in ("large", "larger"):
        append_to(log, [entry(name) for _ in range(1203)])
        age(log, name, 9 * DAY, 1203 if name == "large" else 1100)
    add(log, "small", 9)
    assert swept(log, Limits(age=7 * DAY)) == (2304, 0)
    assert (seqs(log, "large"), seqs(log, "small")) == ([], [])
    assert seqs(log, "larger") == list(range(1101, 1204))


def test_of_very_many_channels_none_is_forgotten(log: EventLog) -> None:
    names = [f"channel-{number}" for number in range(4100)]
    log.make(names)
    due = [names[place] for place in (0, 1000, 1999, 2000, 3999, 4000, -1)]
    for name in due:
        add(log, name, 9)
    assert swept(log, WEEK) == (len(due), len(due))
    assert len(list(log.channels())) == len(names) - len(due)


def test_only_the_named_channels_are_swept(log: EventLog) -> None:
    for name in "abc":
        add(log, name, 9, 8)
    assert swept(log, WEEK, "a", "c") == (4, 2)
    assert list(log.channels()) == ["b"]


def test_spared_channels_keep_all_their_events(log: EventLog) -> None:
    run, other = internal_channel("run", 1), internal_channel("run", 2)
    for name in (run, other, "c"):
        add(log, name, 9, 8)
    assert swept(log, WEEK, spared=lambda: {run}) == (4, 1)
    assert (seqs(log, run), seqs(log, other)) == ([1, 2], [])


@pytest.mark.parametrize("limits", [{"count": -1}, {"age": -DAY}, {"row_age": -DAY}])
def test_a_negative_limit_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="negative"):
        Limits(**limits)


# -- rows


def trimmed(log: EventLog) -> None:
    log.trim("c", count=0)


def emptied(log: EventLog) -> None:
    log.empty("c")


def as_it_was(log: EventLog) -> None:
    pass


@pytest.mark.parametrize("end", [False, True], ids=["open", "finished"])
@pytest.mark.parametrize("emptied", [trimmed, emptied, as_it_was])
@pytest.mark.parametrize(("newest", "goes"), [(6, False), (8, True)])
def test_a_row_goes_some_days_after_the_newest_event_however_it_was_emptied(
    log: EventLog, newest: int, goes: bool, emptied: Callable[[EventLog], None], end: bool
) -> None:
    add(log, "c", 30, newest, end=end)
    emptied(log)
    swept(log, WEEK)
    assert list(log.channels()) == ([] if goes else ["c"])


def test_a_row_goes_some_days_after_it_was_made_without_an_event(log: EventLog) -> None:
    log.make(["old", "new"])
    age_row(log, "old", 8 * DAY)
    assert swept(log, WEEK) == (0, 1)
    assert list(log.channels()) == ["new"]


@pytest.mark.parametrize(
    "limits",
    [
        Limits(age=7 * DAY),
        Limits(age=30 * DAY, row_age=7 * DAY),
        Limits(count=1, row_age=7 * DAY),
        Limits(row_age=7 * DAY),
    ],
)
def test_a_row_stays_with_its_events_and_where_no_age_is_given(
    log: EventLog, limits: Limits
) -> None:
    add(log, "c", 9, 8)
    assert swept(log, limits)[1] == 0
    assert list(log.channels()) == ["c"]


def test_a_row_is_as_old_as_the_newest_event_not_as_the_channel(log: EventLog) -> None:
    add(log, "c", 30, 20)
    assert log.sweep(Limits(age=7 * DAY)).events == 2
    append_to(log, [entry("c")])
    log.trim("c", count=0)
    age_row(log, "c", 6 * DAY)
    assert swept(log, WEEK) == (0, 0)
    age_row(log, "c", 2 * DAY)
    assert swept(log, WEEK) == (0, 1)


def test_internal_rows_stay(log: EventLog) -> None:
    name = internal_channel("run", 1)
    add(log, name, 9)
    assert swept(log, WEEK) == (1, 0)
    assert list(log.channels()) == [name]


def test_after_its_row_a_channel_is_a_new_one(log: EventLog) -> None:
    add(log, "c", 9, 8, end=True)
    with pytest.raises(ChannelFinished):
        append_to(log, [entry("c")])
    (before,) = log.open(["c"])
    late = Attempt([entry("c", "late")], before.position)
    assert swept(log, WEEK) == (2, 1)
    assert log.heads(["c"]) == {}
    # What has to follow a position in the old row makes no new one.
    _, (outcome,) = log.append_each([late])
    assert isinstance(outcome, Rewound)
    assert log.heads(["c"]) == {}
    append_to(log, [entry("c", "new")])
    (after,) = log.open(["c"])
    assert (after.head, after.floor, after.state) == (1, 0, "")
    assert after.epoch != before.epoch
    assert not log.read(before.key, 0, 10).records
    _, (outcome,) = log.append_each([late])
    assert isinstance(outcome, Rewound)
    assert texts(log, "c") == ["new"]


# -- on a database


@pytest.fixture
def rows(database: str, model_log: ModelLog) -> ModelLog:
    return model_log


class Once:
    """Calls `call` once, after the first statement that `which` recognizes."""

    def __init__(self, which: Callable[[str], bool], call: Callable[[], object]) -> None:
        self._which, self._call = which, call
        self.done = False

    def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
        found = execute(sql, *args)
        if not self.done and self._which(sql):
            self.done = True
            self._call()
        return found


def finds_events(sql: str) -> bool:
    return sql.startswith("SELECT") and "CASE WHEN" in sql and "redactions" in sql


def finds_rows(sql: str) -> bool:
    return sql.startswith("SELECT") and "COALESCE" in sql and "outboxevent" in sql


def removes_rows(sql: str) -> bool:
    return sql.startswith("DELETE") and "django_sse_channel" in sql


def test_a_statement_is_for_many_channels(rows: ModelLog) -> None:
    rows.make([f"channel-{number}" for number in range(500)])
    for number in range(200):
        append_to(rows, [entry(f"channel-{number}") for _ in range(2)])
    age(rows, "channel-7", 9 * DAY, 1)

    def statements(limits: Limits) -> int:
        with CaptureQueriesContext(connection) as queries:
            rows.sweep(limits)
        return len(queries)

    assert statements(WEEK) < 25
    assert statements(WEEK) < 8
    # 200 channels lose one event each.
    assert statements(Limits(count=1)) < 50


def test_a_trim_that_was_interrupted_is_finished(rows: ModelLog) -> None:
    add(rows, "c", 9, 8, 1)
    head = rows.heads(["c"])["c"]
    Channel.objects.filter(pk=head.key).update(floor=2, floor_tag=head.head_tag)
    assert rows.sweep(Limits(count=5)).events == 2
    assert StoredEvent.objects.count() == 1


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("between", [finds_events, finds_rows])
def test_an_event_that_comes_meanwhile_is_kept_with_its_row(
    rows: ModelLog, between: Callable[[str], bool], deferred: bool
) -> None:
    add(rows, "c", 9, 8)
    add(rows, "d", 9)
    epoch = rows.heads(["c"])["c"].epoch

    def publish_one() -> None:
        if deferred:
            elsewhere(partial(orphan, rows, entry("c", "new")))
        else:
            elsewhere(partial(append_to, rows, [entry("c", "new")]))

    once = Once(between, publish_one)
    with connection.execute_wrapper(once):
        assert rows.sweep(WEEK).channels == 1
    assert once.done
    rows.sequence(["c"])
    assert texts(rows, "c") == ["new"]
    assert rows.heads(["c"])["c"].position[:2] == (epoch, 3)


def test_a_row_with_events_in_the_outbox_stays(rows: ModelLog) -> None:
    add(rows, "c", 9)
    orphan(rows, entry("c", "new"))
    assert swept(rows, WEEK) == (1, 0)
    rows.sequence(["c"])
    assert texts(rows, "c") == ["new"]


def waits_and_publishes() -> None:
    publish("c", "new")


def commits_and_drains() -> None:
    with transaction.atomic():
        publish("c", "new")


def shares_a_commit() -> None:
    # It waits in the slow lane.
    asyncio.run(apublish("c", "new"))


@pytest.mark.parametrize("end", [False, True], ids=["open", "finished"])
@pytest.mark.parametrize("call", [waits_and_publishes, commits_and_drains, shares_a_commit])
def test_a_publish_that_waits_for_the_row_makes_a_new_one(
    rows: ModelLog, call: Callable[[], None], end: bool
) -> None:
    skip_unless_writers_overlap()
    add(rows, "c", 9, 8, end=end)
    rows.sweep(Limits(age=7 * DAY))
    before = rows.heads(["c"])["c"]
    if end:
        # It has begun when the channel was open.
        Channel.objects.update(state="")
    errors: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    publisher = threading.Thread(target=work)

    def begin() -> None:
        publisher.start()
        until_somebody_waits_for_a_lock()

    once = Once(removes_rows, begin)
    with connection.execute_wrapper(once):
        assert rows.sweep(WEEK).channels == 1
    publisher.join(60)
    assert errors == []
    assert texts(rows, "c") == ["new"]
    after = rows.heads(["c"])["c"]
    assert (after.head, after.floor) == (1, 0)
    assert after.epoch != before.epoch


def test_locked_channels_are_named_and_delay_no_other(rows: ModelLog, constants: Overrides) -> None:
    skip_unless_writers_overlap()
    constants(LOCK_WAIT=0.1)
    for name in "abc":
        add(rows, name, 9)
    add(rows, "empty", 9)
    rows.trim("empty", count=0)
    with locked("b"), locked("empty"):
        found = elsewhere(partial(rows.sweep, WEEK))
    assert found == Swept(events=2, channels=2, locked=["b"])
    assert sorted(rows.channels()) == ["b", "empty"]
    assert rows.sweep(WEEK) == Swept(events=1, channels=2)


def test_sweeps_and_publishers_disturb_each_other_at_no_moment(rows: ModelLog) -> None:
    names = [f"channel-{number}" for number in range(4)]
    now = Limits(age=timedelta(0), row_age=timedelta(0))
    ids: list[str] = []

    def publish_all(work: int) -> None:
        for number in range(30):
            name = names[(work + number) % len(names)]
            if number % 3 == 0:
                with transaction.atomic():
                    publish(name, "x")
            else:
                ids.append(publish(name, "x") or "")

    def sweep_all() -> None:
        for _ in range(15):
            rows.sweep(now)

    in_threads(*[partial(publish_all, work) for work in range(3)], sweep_all, sweep_all)
    # No epoch has given a number twice.
    assert len(set(ids)) == len(ids) == 60
    assert rows.orphans() == []
    rows.sweep(now)
    assert StoredEvent.objects.count() == 0


def test_many_that_sweep_at_once_count_each_removal_once(rows: ModelLog) -> None:
    for number in range(60):
        add(rows, f"channel-{number}", 9, 8)
    found = in_threads(*[partial(rows.sweep, WEEK)] * 4)
    assert sum(each.events for each in found) == 120
    assert sum(each.channels for each in found) == 60
    assert list(rows.channels()) == []


def test_finished_is_final_until_the_row_goes(rows: ModelLog) -> None:
    add(rows, "c", 9, 8, end=True)
    rows.sweep(Limits(age=7 * DAY))
    assert finish_in(rows, terminal("c")) == []
    rows.sweep(WEEK)
    assert finish_in(rows, terminal("c")) != []


def test_a_floor_that_another_sweep_has_raised_is_not_lowered(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(log, ModelLog):
        pytest.skip("only in a database several processes sweep at once")
    add(log, "room", *[30] * 6)
    floors, remove = sweeping.Sweep._floors, sweeping._remove_events

    def while_another_sweeps(self: Any, due: Any) -> Any:
        found = floors(self, due)
        monkeypatch.setattr(sweeping.Sweep, "_floors", floors)
        # It has raised the floor, and has not removed the events yet.
        monkeypatch.setattr(sweeping, "_remove_events", lambda *_: 0)
        log.sweep(Limits(count=2))
        monkeypatch.setattr(sweeping, "_remove_events", remove)
        return found

    monkeypatch.setattr(sweeping.Sweep, "_floors", while_another_sweeps)
    log.sweep(Limits(count=4))
    assert log.heads(["room"])["room"].floor == 4
    assert seqs(log, "room") == [5, 6]
