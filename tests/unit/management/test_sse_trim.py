from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from django_sse import delete_channel, publish, publish_many
from django_sse.log import get_log
from django_sse.log.model import ModelLog
from django_sse.log.retention import Swept
from django_sse.management.commands.sse_trim import parse_duration
from django_sse.models import Channel, EventKey, Lease, Run, StoredEvent
from django_sse.runs import leases, lost, store
from django_sse.testing import memory_log, published
from tests.options import Overrides
from tests.positions import id_of
from tests.unit.log.support import elsewhere
from tests.unit.management.support import complaints, run
from tests.unit.runs.support import new_run, say

pytestmark = pytest.mark.django_db


def fill(channel: str, *ages: timedelta) -> None:
    """An event for each age, oldest first; its data is its number."""
    publish_many([(channel, str(number)) for number in range(1, len(ages) + 1)])
    for number, age in enumerate(ages, start=1):
        event = StoredEvent.objects.filter(channel__name=channel, seq=number)
        event.update(created=timezone.now() - age)


def left(channel: str) -> list[str]:
    return [data for _, data in published(channel)]


DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def test_events_that_are_too_old_go() -> None:
    fill("room", 3 * DAY, 2 * DAY, HOUR)

    assert run("sse_trim", "--age", "1d") == "2 events removed.\n"
    assert left("room") == ["3"]


@pytest.mark.parametrize("age", ["1d", DAY])
@pytest.mark.parametrize("count", ["2", 2])
def test_code_may_call_it_with_texts_and_with_values(age: Any, count: Any) -> None:
    fill("room", 3 * DAY, 2 * DAY, HOUR)
    fill("other", HOUR, HOUR, HOUR)

    call_command("sse_trim", "room", age=age, stdout=StringIO())
    call_command("sse_trim", "other", count=count, stdout=StringIO())

    assert (left("room"), left("other")) == (["3"], ["2", "3"])


def test_a_text_that_is_no_duration_is_an_error_of_the_command() -> None:
    fill("room", DAY)

    with pytest.raises(CommandError, match="age: 'soon' is not a duration"):
        call_command("sse_trim", age="soon")

    assert left("room") == ["1"]


def test_all_but_the_newest_go() -> None:
    fill("room", 3 * DAY, 2 * DAY, HOUR)

    assert run("sse_trim", "--count", "2") == "1 events removed.\n"
    assert left("room") == ["2", "3"]


def test_both_limits_hold() -> None:
    fill("a", 3 * DAY, 2 * DAY, HOUR)
    fill("b", HOUR, HOUR, HOUR)

    assert run("sse_trim", "--age", "1d", "--count", "2") == "3 events removed.\n"
    assert (left("a"), left("b")) == (["3"], ["2", "3"])


def test_only_the_named_channels_are_trimmed() -> None:
    for name in "abc":
        fill(name, HOUR, HOUR)

    assert run("sse_trim", "a", "b", "--count", "0") == "4 events removed.\n"
    assert (left("a"), left("b"), left("c")) == ([], [], ["1", "2"])


def test_the_settings_are_the_default(settings: Any) -> None:
    settings.DJANGO_SSE = {"RETENTION": {"AGE": 86400, "COUNT": 2}}
    fill("a", 3 * DAY, 2 * DAY, HOUR)
    fill("b", HOUR, HOUR, HOUR)

    assert run("sse_trim") == "3 events removed.\n"
    assert (left("a"), left("b")) == (["3"], ["2", "3"])


def test_a_limit_that_is_given_is_the_only_one(settings: Any) -> None:
    settings.DJANGO_SSE = {"RETENTION": {"AGE": 86400, "COUNT": 1}}
    fill("room", 3 * DAY, 2 * DAY, HOUR)

    assert run("sse_trim", "--count", "2") == "1 events removed.\n"
    assert left("room") == ["2", "3"]
    assert run("sse_trim", "--age", "1d") == "1 events removed.\n"
    assert left("room") == ["3"]


def test_settings_that_keep_everything_keep_everything(settings: Any) -> None:
    settings.DJANGO_SSE = {"RETENTION": {"AGE": None, "COUNT": None}}
    fill("room", 1000 * DAY)

    assert "RETENTION sets neither AGE nor COUNT" in run("sse_trim")
    assert left("room") == ["1"]


def test_an_age_in_the_settings_beyond_all_time_keeps_everything(settings: Any) -> None:
    settings.DJANGO_SSE = {"RETENTION": {"AGE": 1e15}}
    fill("room", 1000 * DAY)

    assert run("sse_trim") == "0 events removed.\n"
    assert left("room") == ["1"]


@pytest.mark.parametrize(
    "limits", [("--age", "1d"), ("--count", "1"), ("--age", "1d", "--count", "2")]
)
def test_a_dry_run_says_how_many_and_removes_nothing(limits: tuple[str, ...]) -> None:
    fill("room", 3 * DAY, 2 * DAY, HOUR)

    assert run("sse_trim", *limits, "--dry-run") == "2 events would be removed.\n"
    assert left("room") == ["1", "2", "3"]
    assert run("sse_trim", *limits) == "2 events removed.\n"
    assert run("sse_trim", *limits, "--dry-run") == "0 events would be removed.\n"


def test_a_dry_run_measures_age_by_the_logs_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    fill("room", 3 * DAY, HOUR, HOUR)
    # This machine's clock is a day ahead of the database's.
    ahead = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: ahead)

    assert run("sse_trim", "--age", "12h", "--dry-run") == "1 events would be removed.\n"
    assert run("sse_trim", "--age", "12h") == "1 events removed.\n"


# -- channels without events


@pytest.mark.parametrize("arguments", [(), ("--count", "5"), ("--age", "1h"), ("old", "room")])
def test_channels_whose_newest_event_is_too_old_go_with_their_rows(
    arguments: tuple[str, ...],
) -> None:
    fill("old", 9 * DAY, 8 * DAY)
    fill("room", 9 * DAY, HOUR)
    delete_channel("old")

    removed = "0" if "--count" in arguments else "2" if "--age" in arguments else "1"
    told = run("sse_trim", *arguments, "--dry-run")
    assert told.endswith("1 channels without events would be removed.\n")
    assert run("sse_trim", *arguments) == (
        f"{removed} events removed.\n1 channels without events removed.\n"
    )
    assert [channel.name for channel in Channel.objects.all()] == ["room"]


def test_the_row_goes_by_the_settings_whatever_age_is_asked_for(settings: Any) -> None:
    fill("room", 2 * DAY)
    assert run("sse_trim", "--age", "1d") == "1 events removed.\n"
    assert Channel.objects.exists()

    settings.DJANGO_SSE = {"RETENTION": {"AGE": None, "COUNT": 5}}
    assert "channels" not in run("sse_trim")
    settings.DJANGO_SSE = {"RETENTION": {"AGE": 86400}}
    assert "1 channels without events removed.\n" in run("sse_trim")


def test_the_row_stays_as_long_as_a_key_of_its_events(settings: Any) -> None:
    settings.DJANGO_SSE = {"RETENTION": {"AGE": 3600}}
    fill("room", 23 * HOUR)
    publish("keyed", "1", key="k")
    StoredEvent.objects.update(created=timezone.now() - 23 * HOUR)
    EventKey.objects.update(created=timezone.now() - 23 * HOUR)
    first = id_of("keyed", 1)

    assert run("sse_trim") == "2 events removed.\n"
    assert publish("keyed", "again", key="k") == first
    Channel.objects.update(floor_created=timezone.now() - 25 * HOUR)
    assert "2 channels" in run("sse_trim")


def test_rows_of_runs_go_with_their_runs(settings: Any) -> None:
    settings.DJANGO_SSE = {"RETENTION": {"AGE": 86400, "RUN_AGE": 30 * 86400}}
    kept = a_run(ended=9 * DAY)
    StoredEvent.objects.update(created=timezone.now() - 9 * DAY)

    assert "channels" not in run("sse_trim")
    assert store.state(kept) == ("", 1)


def test_a_log_without_channels_is_trimmed() -> None:
    assert run("sse_trim") == "0 events removed.\n"
    assert run("sse_trim", "--dry-run") == "0 events would be removed.\n"


def test_many_channels_are_trimmed_while_others_publish(transactional_db: None) -> None:
    log = get_log()
    log.open([f"room-{number}" for number in range(501)])
    publish_many([("room-0", "1"), ("room-0", "2"), ("room-500", "1"), ("room-500", "2")])

    for name in log.channels():
        if name in ("room-0", "room-500"):
            elsewhere(lambda: publish("busy", "x"))
            assert log.trim(name, count=1) == 1
    assert run("sse_trim", "--count", "0") == "4 events removed.\n"


def test_a_log_in_memory_is_trimmed() -> None:
    with memory_log():
        publish_many([("a", "1"), ("a", "2"), ("b", "3")])

        assert run("sse_trim", "--count", "1", "--dry-run") == "1 events would be removed.\n"
        assert run("sse_trim", "--count", "1") == "1 events removed.\n"
        assert (left("a"), left("b")) == (["2"], ["3"])


def test_an_unknown_channel_is_an_error_and_nothing_is_trimmed() -> None:
    fill("room", HOUR)

    with pytest.raises(CommandError, match="no channel 'rome', 'roam'"):
        run("sse_trim", "room", "rome", "roam", "--count", "0")

    assert left("room") == ["1"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--age", "7"), "is not a duration"),
        (("--age", "7 d"), "is not a duration"),
        (("--age", "-7d"), "expected one argument|is not a duration"),
        (("--age", "d"), "is not a duration"),
        (("--age", "1y"), "is not a duration"),
        (("--age", "٣d"), "is not a duration"),
        (("--age", ""), "is not a duration"),
        (("--count", "-1"), "is not a number of events"),
        (("--count", "1.5"), "is not a number of events"),
        (("--count", ""), "is not a number of events"),
        (("--count", "²"), "is not a number of events"),
        (("a\nb", "--count", "0"), "control characters"),
    ],
)
def test_bad_limits_are_a_clear_error_and_nothing_is_trimmed(
    args: tuple[str, ...], message: str
) -> None:
    publish("room", "1")

    with pytest.raises(CommandError, match=message):
        run("sse_trim", *args)

    assert left("room") == ["1"]


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30s", timedelta(seconds=30)),
        ("90m", timedelta(minutes=90)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("1.5h", timedelta(minutes=90)),
        ("0s", timedelta(0)),
    ],
)
def test_durations_are_understood(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


def test_a_duration_beyond_all_time_keeps_everything() -> None:
    fill("room", 1000 * DAY)

    assert run("sse_trim", "--age", "999999999w") == "0 events removed.\n"
    with pytest.raises(ArgumentTypeError):
        parse_duration("9" * 400 + "d")


# -- runs


def a_run(*, ended: timedelta | None) -> Run:
    run = new_run()
    say(run, "token")
    if ended is not None:
        Run.objects.filter(pk=run.pk).update(ended=timezone.now() - ended, slot=None)
    return run


def test_runs_that_ended_long_ago_go_with_all_they_said(settings: Any) -> None:
    settings.DJANGO_SSE = {"RETENTION": {"RUN_AGE": 86400, "AGE": None}, "RUNS": {"LEASE": 0.2}}
    old, new, running = a_run(ended=2 * DAY), a_run(ended=HOUR), a_run(ended=None)

    assert run("sse_trim", "--dry-run").startswith("1 runs would be removed.\n")
    assert Run.objects.count() == 3
    assert "\n1 runs removed.\n" in run("sse_trim")
    assert set(Run.objects.all()) == {new, running}
    assert not Channel.objects.filter(name=old.channel).exists()
    assert left(new.channel) == left(running.channel)[:1] == ["token"]


@pytest.mark.parametrize("arguments", [("--age", "1d"), ("--count", "5"), ("room",)])
def test_runs_are_left_alone_where_something_else_was_asked_for(arguments: tuple[str, ...]) -> None:
    publish("room", "1")
    a_run(ended=30 * DAY)
    run("sse_trim", *arguments)
    assert Run.objects.count() == 1


def test_runs_are_kept_where_the_settings_say_so(settings: Any) -> None:
    settings.DJANGO_SSE = {"RETENTION": {"RUN_AGE": None}}
    a_run(ended=1000 * DAY)
    run("sse_trim")
    assert Run.objects.count() == 1


def with_a_lease(settings: Any, seconds: float) -> None:
    settings.DJANGO_SSE = {"RUNS": {"LEASE": seconds}}


def test_a_run_that_has_lost_its_process_is_ended(settings: Any) -> None:
    with_a_lease(settings, 0.5)
    dead = a_run(ended=None)

    run("sse_trim", "--dry-run")
    assert store.state(dead)[0] == ""
    assert run("sse_trim").startswith("Watching for up to 0.5 s which processes")
    assert store.state(dead)[0] == "error"
    # No lease is left to watch.
    assert run("sse_trim") == "0 events removed.\n"
    assert len(left(dead.channel)) == 2
    assert not Lease.objects.exists()


def test_a_run_whose_process_lives_goes_on(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process renews while the command waits, which then does not wait any longer."""
    with_a_lease(settings, 3600.0)
    living = a_run(ended=None)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        assert leases.renew(living.lease)

    monkeypatch.setattr(lost, "time", SimpleNamespace(sleep=sleep))
    assert "Watching" in run("sse_trim")
    assert store.state(living)[0] == ""
    assert waited == [pytest.approx(30.0 / 4)]
    assert list(leases.seen()) == [living.lease]


def test_it_ends_nothing_if_the_database_is_away_repeatedly(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_lease(settings, 0.2)
    silent = a_run(ended=None)
    # Each of its own writes comes later than the one before announced.
    monkeypatch.setattr(lost, "longest_pause", lambda: 0.0)
    assert "too often to find out" in complaints("sse_trim")
    assert store.state(silent)[0] == ""


class BusyLog(ModelLog):
    """When it is swept, a run begins in another process."""

    begun: list[Run] = []

    def sweep(self, *args: Any, **options: Any) -> Swept:
        self.begun.append(new_run())
        for number in range(9):
            say(self.begun[0], str(number))
        return super().sweep(*args, **options)


def test_a_run_that_begins_meanwhile_keeps_its_beginning(constants: Overrides) -> None:
    constants(LOG=f"{__name__}.BusyLog")
    BusyLog.begun = []
    fill("room", HOUR, HOUR)

    assert run("sse_trim", "--count", "1") == "1 events removed.\n"
    (begun,) = BusyLog.begun
    assert left(begun.channel) == [str(number) for number in range(9)]


@pytest.mark.parametrize("arguments", [[], ["--count", "9"], ["room"]], ids=repr)
def test_keys_go_after_a_day_whatever_is_asked_for(arguments: list[str]) -> None:
    publish("room", "x", key="young")
    publish("room", "x", key="old")
    old = EventKey.objects.filter(seq=2)
    old.update(created=timezone.now() - DAY)

    assert "key" not in run("sse_trim", "--dry-run")
    assert run("sse_trim", *arguments) == "1 old keys removed.\n0 events removed.\n"
    assert EventKey.objects.get().seq == 1
