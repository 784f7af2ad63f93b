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
from django_sse.log import get_log
from django_sse.log.base import State
from django_sse.models import Channel, Run, StoredEvent
from django_sse.publishing import end
from django_sse.runs import store
from tests.unit.log.support import elsewhere, in_threads, start_python
from tests.unit.runs.support import say

TIMEOUT = 90.0

pytestmark = [
    pytest.mark.usefixtures("database", "configure"),
    pytest.mark.django_db(transaction=True),
]


def create(owner: str = "user:1", *, while_connected: bool = False) -> Run:
    return store.create(owner, dialect="plain", while_connected=while_connected)


def created_or_refused(owner: str = "user:1") -> Run | None:
    try:
        return create(owner)
    except TooManyRuns:
        return None


def later(seconds: float, *runs: Run) -> None:
    """So much time goes by for these runs."""
    by = timedelta(seconds=seconds)
    Run.objects.filter(pk__in=[run.pk for run in runs]).update(
        lease=F("lease") - by, watched=F("watched") - by, ended=F("ended") - by
    )


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
    run = store.create("session:abc", dialect="ai-sdk", while_connected=True)
    found = store.find(run.pk)
    assert found is not None
    assert (found.owner, found.dialect, found.while_connected) == ("session:abc", "ai-sdk", True)
    assert found.ended is None


@pytest.mark.options(LEASE=100.0)
def test_its_times_are_the_databases() -> None:
    before = elsewhere(database_now)
    run = create()
    after = elsewhere(database_now)
    assert before <= run.created <= after
    assert before <= run.watched <= after
    assert before <= run.lease - timedelta(seconds=100) <= after


def database_now() -> Any:
    return get_log().now(get_log().open(["clock"])[0])


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
        from django_sse.exceptions import TooManyRuns
        from django_sse.runs import store
        from django.conf import settings

        settings.DJANGO_SSE = {"LIMITS": {"RUNS_PER_OWNER": 7}, "NOTIFIER": "local"}
        begun = 0
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(10):
            try:
                store.create("user:1", dialect="plain", while_connected=False)
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
def test_a_run_that_ended_leaves_its_place() -> None:
    first, second = create(), create()
    store.ended([first.pk])
    third = create()
    assert third.slot == first.slot
    assert slots() == [0, 1]
    first.refresh_from_db()
    assert first.slot is None
    with pytest.raises(TooManyRuns):
        create()
    store.ended([second.pk, third.pk])
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
    run.refresh_from_db()
    assert run.ended == noted


def test_the_state_is_that_of_the_channel() -> None:
    run = create()
    assert store.state(run) == ("", 0)
    say(run, "one")
    assert store.state(run) == ("", 1)
    end(run.channel, State.ABORTED, PLAIN.aborted())
    assert store.state(run) == ("aborted", 2)
    store.discard([run])
    assert store.state(run) == ("", 0)


# -- leases


@pytest.mark.options(LEASE=100.0)
def test_a_run_is_expired_when_its_lease_is_over_and_not_before() -> None:
    early, late = create(), create()
    later(99, early)
    assert store.expired() == []
    later(2, early)
    assert store.expired() == [early]
    later(200, late)
    assert {run.pk for run in store.expired()} == {early.pk, late.pk}


def test_one_that_ended_does_not_expire() -> None:
    run = create()
    store.ended([run.pk])
    later(1000, run)
    assert store.expired() == []


def test_the_expired_can_be_asked_for_by_owner_and_by_run() -> None:
    one, two, other = create(), create(), create("user:2")
    later(1000, one, two, other)
    assert {run.pk for run in store.expired(owner="user:1")} == {one.pk, two.pk}
    assert store.expired(run_id=two.pk) == [two]
    assert store.expired(owner="user:3") == []


@pytest.mark.options(LEASE=100.0)
def test_renewed_a_lease_begins_again() -> None:
    mine, other = create(), create()
    later(1000, mine, other)
    store.renew([mine.pk], [])
    assert store.expired() == [other]
    later(99, mine)
    assert store.expired() == [other]
    later(2, mine)
    assert len(store.expired()) == 2


def test_what_ended_is_not_renewed() -> None:
    run = create()
    store.ended([run.pk])
    run.refresh_from_db()
    store.renew([run.pk], [run.pk])
    lease, watched = run.lease, run.watched
    run.refresh_from_db()
    assert (run.lease, run.watched) == (lease, watched)


def test_many_runs_are_renewed_at_once() -> None:
    runs = [create(f"user:{number}") for number in range(3)]
    later(1000, *runs)
    # More than go into one statement.
    store.renew([*(uuid4() for _ in range(1200)), *(run.pk for run in runs)], [])
    assert store.expired() == []


# -- clients


@pytest.mark.options(UNWATCHED=30.0)
def test_a_run_is_unwatched_when_nobody_said_so_for_a_while() -> None:
    alone, watched, not_asked_for = (create(while_connected=True) for _ in range(3))
    both = [alone.pk, watched.pk]
    later(29, alone, watched, not_asked_for)
    assert store.unwatched(both) == []
    later(2, alone, watched, not_asked_for)
    store.renew([], [watched.pk])
    assert store.unwatched(both) == [alone.pk]
    assert store.unwatched([]) == []


def test_that_it_is_watched_keeps_no_process_alive() -> None:
    run = create(while_connected=True)
    later(1000, run)
    store.renew([], [run.pk])
    assert store.expired() == [run]


def test_clients_of_runs_that_go_on_without_them_are_not_written_down() -> None:
    run = create()
    later(1000, run)
    run.refresh_from_db()
    store.renew([], [run.pk])
    watched = run.watched
    run.refresh_from_db()
    assert run.watched == watched


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
    old, new, running = create(), create(), create()
    for run in (old, new, running):
        say(run, "text")
    store.ended([old.pk, new.pk])
    later(61, old, running)
    later(59, new)
    assert store.remove_old(60, dry_run=True) == 1
    assert Run.objects.count() == 3
    assert store.remove_old(60) == 1
    assert {run.pk for run in Run.objects.all()} == {new.pk, running.pk}
    names = set(Channel.objects.values_list("name", flat=True))
    assert names == {new.channel, running.channel}
    assert store.remove_old(60) == 0
    assert store.remove_old(58) == 1
    assert list(Run.objects.all()) == [running]


# -- a database that does not answer


@pytest.mark.parametrize(
    "call",
    [
        partial(store.find, uuid4()),
        partial(store.find_by_epoch, "e"),
        partial(store.renew, [uuid4()], []),
        partial(store.renew, [], [uuid4()]),
        store.expired,
        partial(store.unwatched, [uuid4()]),
        partial(store.ended, [uuid4()]),
        partial(store.remove_old, 1),
        create,
    ],
)
def test_a_database_that_is_away_is_a_log_that_is_away(call: Callable[[], object]) -> None:
    def away(*args: Any) -> Any:
        raise OperationalError("gone away")

    with connection.execute_wrapper(away), pytest.raises(LogUnavailable, match="gone away"):
        call()


def test_of_the_expired_one_claims_each_and_only_while_it_is_expired() -> None:
    lost, alive = create(), create("user:2")
    later(1000, lost)
    found = [lost, alive]
    # Looked up as expired, and renewed before somebody came to end it.
    assert store.claim(found) == [lost]
    assert store.claim(found) == []
    later(1000, lost)
    assert store.claim([]) == []
    assert store.claim(found) == [lost]


def test_the_channels_of_runs_under_way_are_known() -> None:
    running, over = create(), create("user:2")
    store.ended([over.pk])
    assert store.channels_under_way() == {running.channel}
