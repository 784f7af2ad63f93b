"""The rows of runs, on each database that is there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.db.models import F

from django_sse.dialects.plain import PLAIN
from django_sse.exceptions import LogUnavailable, TooManyRuns
from django_sse.log import get_log, orm
from django_sse.log.base import State
from django_sse.models import Channel, Run, StoredEvent
from django_sse.runs import store
from tests.unit.log.support import elsewhere, in_threads, start_python
from tests.unit.runs.support import end, new_run, say

TIMEOUT = 90.0

pytestmark = [
    pytest.mark.usefixtures("database", "configure"),
    pytest.mark.django_db(transaction=True),
]


def create(owner: str = "user:1", *, while_connected: bool = False) -> Run:
    return new_run(owner, while_connected=while_connected)


def created_or_refused(owner: str = "user:1") -> Run | None:
    try:
        return create(owner)
    except TooManyRuns:
        return None


def later(seconds: float, *runs: Run) -> None:
    """So much time goes by for these runs."""
    by = timedelta(seconds=seconds)
    Run.objects.filter(pk__in=[run.pk for run in runs]).update(ended=F("ended") - by)


def slots(owner: str = "user:1") -> list[int | None]:
    rows = Run.objects.filter(owner=owner, slot__isnull=False)
    return list(rows.order_by("slot").values_list("slot", flat=True))


# -- beginning


def test_a_run_begins_with_a_channel_of_its_own_by_whose_ids_it_is_found() -> None:
    run = create()
    channel = Channel.objects.get(name=run.channel)
    assert (channel.epoch, channel.head, channel.state) == (run.epoch, 0, "")
    assert store.find(run.pk) == store.find_by_epoch(channel.epoch) == run
    other = create()
    assert other.epoch != run.epoch
    assert store.find_by_epoch(other.epoch) == other


def test_what_was_asked_for_is_kept() -> None:
    lease = uuid4()
    run = store.create("session:abc", lease=lease, dialect="ai-sdk", while_connected=True)
    found = store.find(run.pk)
    assert found is not None
    assert (found.owner, found.dialect, found.while_connected) == ("session:abc", "ai-sdk", True)
    assert (found.lease, found.ended) == (lease, None)


def test_its_times_are_the_databases() -> None:
    before = elsewhere(database_now)
    run = create()
    assert before <= run.created <= elsewhere(database_now)


def database_now() -> Any:
    return get_log().now(get_log().make(["clock"])[0])


def test_a_run_that_never_was_is_not_found() -> None:
    assert store.find(uuid4()) is None
    assert store.find_by_epoch("never") is None


# -- as many as one owner may have


@pytest.mark.options(RUNS_PER_OWNER=5)
def test_of_a_hundred_that_begin_at_once_as_many_as_allowed_do() -> None:
    begun = [run for run in in_threads(*[created_or_refused] * 100) if run is not None]
    assert len(begun) == 5
    assert slots() == [0, 1, 2, 3, 4]
    assert Channel.objects.count() == 5


def test_two_processes_together_begin_no_more_than_one_may() -> None:
    code = """
        from uuid import uuid4
        from django_sse.exceptions import TooManyRuns
        from django_sse.runs import store
        from django.conf import settings

        settings.DJANGO_SSE = {"LIMITS": {"RUNS_PER_OWNER": 7}, "NOTIFIER": "local"}
        begun = 0
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(10):
            try:
                store.create("user:1", lease=uuid4(), dialect="plain", while_connected=False)
            except TooManyRuns:
                continue
            begun += 1
        print(begun)
    """
    with start_python(code) as first, start_python(code) as second:
        both = (first, second)
        for process in both:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in both:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.communicate(timeout=TIMEOUT) for process in both]
    assert sum(int(out) for out, _ in told) == 7, told
    assert slots() == list(range(7))


@pytest.mark.options(RUNS_PER_OWNER=1)
def test_the_refusal_names_the_setting() -> None:
    create()
    with pytest.raises(TooManyRuns, match=r"1 runs .* RUNS_PER_OWNER"):
        create()
    assert Run.objects.count() == Channel.objects.count() == 1


@pytest.mark.options(RUNS_PER_OWNER=1)
def test_each_owner_has_places_of_its_own() -> None:
    create("user:1")
    create("user:2")
    assert slots("user:1") == slots("user:2") == [0]


@pytest.mark.options(RUNS_PER_OWNER=2)
def test_a_run_keeps_its_slot_until_its_generator_has_stopped() -> None:
    first, second = create(), create()
    assert not store.stopping("user:1")
    store.ended([first.pk])
    assert store.stopping("user:1")
    with pytest.raises(TooManyRuns):
        create()
    store.stopped([first.pk])
    assert not store.stopping("user:1")
    third = create()
    assert third.slot == first.slot
    assert slots() == [0, 1]
    first.refresh_from_db()
    assert first.slot is None
    with pytest.raises(TooManyRuns):
        create()
    store.stopped([second.pk, third.pk])
    assert slots() == []


# -- ends


def test_an_end_is_noted_once_by_the_databases_clock() -> None:
    run = create()
    before = elsewhere(database_now)
    store.ended([run.pk])
    run.refresh_from_db()
    noted = run.ended
    assert noted is not None
    assert before <= noted
    store.ended([run.pk])
    store.stopped([run.pk])
    run.refresh_from_db()
    assert run.ended == noted


def test_a_run_leaves_from_the_moment_that_its_end_is_in_the_log() -> None:
    run = create()
    assert not store.stopping(run.owner)
    # Its row says so later.
    end(run.channel, State.DONE, PLAIN.done())
    assert store.stopping(run.owner)
    assert not store.stopping("user:2")


def test_with_its_generator_gone_a_run_has_ended_too() -> None:
    run, other = create(), create()
    store.stopped([run.pk])
    run.refresh_from_db()
    other.refresh_from_db()
    assert run.ended is not None
    assert (run.slot, other.ended) == (None, None)


def test_the_state_is_that_of_the_channel() -> None:
    run = create()
    assert store.state(run) == ("", 0)
    say(run, "one")
    assert store.state(run) == ("", 1)
    end(run.channel, State.ABORTED, PLAIN.aborted())
    assert store.state(run) == ("aborted", 2)
    store.discard([run])
    assert store.state(run) == ("", 0)


# -- by a lease


def test_those_of_a_lease_that_have_not_left_are_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lease = uuid4()
    runs = [new_run(f"user:{number}", lease=lease) for number in range(5)]
    create("user:9")
    store.stopped([runs[0].pk])
    # A run whose generator still runs.
    store.ended([runs[1].pk])
    left = {run.pk for run in runs[1:]}
    assert set(store.under_way(lease)) == left
    # More than go into one statement.
    monkeypatch.setattr(orm, "BATCH", 3)
    some = list(store.some_under_way(lease))
    assert [len(each) for each in some] == [3, 1]
    assert {run.pk for each in some for run in each} == left
    assert list(store.some_under_way(uuid4())) == []


# -- clients


def test_a_run_that_is_watched_has_another_number_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "BATCH", 2)
    alone, *runs = (create(f"user:{n}", while_connected=True).pk for n in range(4))
    before = store.watched([alone, *runs])
    store.watch(runs)
    after = store.watched([alone, *runs])
    assert {pk for pk in after if after[pk] != before[pk]} == set(runs)
    assert store.watched([]) == {}


def test_clients_of_runs_that_go_on_without_them_or_have_ended_are_not_written_down() -> None:
    goes_on, over = create().pk, create(while_connected=True).pk
    store.ended([over])
    before = store.watched([goes_on, over])
    store.watch([goes_on, over])
    assert store.watched([goes_on, over]) == before


# -- what is removed


def test_a_run_goes_with_all_that_it_said() -> None:
    gone, kept = create(), create()
    for run in (gone, kept):
        say(run, "text")
    store.discard([gone])
    assert list(Run.objects.all()) == [kept]
    assert list(Channel.objects.values_list("name", flat=True)) == [kept.channel]
    assert StoredEvent.objects.count() == 1
    store.discard([])
    assert Run.objects.count() == 1


def test_old_are_those_that_ended_long_ago() -> None:
    old, new, running, stuck = create(), create(), create(), create()
    for run in (old, new, running):
        say(run, "text")
    store.stopped([old.pk, new.pk])
    store.ended([stuck.pk])
    later(61, old, running, stuck)
    later(59, new)
    assert store.remove_old(60, dry_run=True) == 1
    assert Run.objects.count() == 4
    assert store.remove_old(60) == 1
    assert {run.pk for run in Run.objects.all()} == {new.pk, running.pk, stuck.pk}
    names = set(Channel.objects.values_list("name", flat=True))
    assert names == {new.channel, running.channel, stuck.channel}
    assert store.remove_old(60) == 0
    store.stopped([stuck.pk])
    assert store.remove_old(58) == 2
    assert list(Run.objects.all()) == [running]


# -- a database that does not answer


@pytest.mark.parametrize(
    "call",
    [
        partial(store.find, uuid4()),
        partial(store.find_by_epoch, "e"),
        partial(store.watch, [uuid4()]),
        partial(store.watched, [uuid4()]),
        partial(store.under_way, uuid4()),
        partial(store.ended, [uuid4()]),
        partial(store.stopped, [uuid4()]),
        partial(store.stopping, "user:1"),
        partial(store.remove_old, 1),
        create,
    ],
)
def test_a_database_that_is_away_is_a_log_that_is_away(call: Callable[[], object]) -> None:
    def away(*args: Any) -> Any:
        raise OperationalError("gone away")

    with connection.execute_wrapper(away), pytest.raises(LogUnavailable, match="gone away"):
        call()


def test_the_channels_of_runs_under_way_are_known() -> None:
    running, over = create(), create("user:2")
    store.ended([over.pk])
    assert store.channels_under_way() == {running.channel}
