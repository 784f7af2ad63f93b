"""The statements by hand: what they cost, and what they must not lose against the ORM's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from django_sse.log.model import ModelLog
from django_sse.log.statements import statements
from django_sse.models import Channel, StoredEvent
from tests.appending import append_to
from tests.unit.log.support import (
    ON_A_DATABASE,
    TIMEOUT,
    another_database,
    assert_dense,
    entry,
    everything,
    in_threads,
    orphan,
    skip_unless_writers_overlap,
    terminal,
    until_somebody_waits_for_a_lock,
)

pytestmark = ON_A_DATABASE


@contextmanager
def executed() -> Iterator[list[str]]:
    """The first words of each statement that is executed; of many rows, once."""
    seen: list[str] = []

    def tell(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        # SQLite's is one of Django's own; elsewhere the driver sends it.
        if not sql.startswith("BEGIN"):
            seen.append(sql.split(maxsplit=1)[0])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(tell):
        yield seen


def writes() -> list[str]:
    """What writes the events of an append and moves its heads: PostgreSQL does both in one."""
    return ["WITH"] if connection.vendor == "postgresql" else ["INSERT", "UPDATE"]


def created(channel: str) -> list[Any]:
    rows = StoredEvent.objects.filter(channel__name=channel).order_by("seq")
    return list(rows.values_list("created", flat=True))


# -- how many


@pytest.mark.parametrize("events", [1, 50])
def test_an_append_to_a_channel_is_three_statements_at_most(
    model_log: ModelLog, events: int
) -> None:
    append_to(model_log, [entry("c")])
    with executed() as seen:
        append_to(model_log, [entry("c")] * events)
    assert seen == ["SELECT", *writes()]
    assert_dense(everything(model_log, "c"))
    assert len(everything(model_log, "c")) == 1 + events


def test_an_append_to_many_channels_is_as_many(model_log: ModelLog) -> None:
    entries = [entry(f"channel-{number}") for number in range(50)]
    append_to(model_log, entries)
    with executed() as seen:
        append_to(model_log, entries)
    assert seen == ["SELECT", *writes()]


def test_what_waits_in_the_outbox_costs_two_reads_and_a_removal(
    model_log: ModelLog,
) -> None:
    append_to(model_log, [entry("c")])
    orphan(model_log, entry("c", "1"), entry("c", "2"))
    with executed() as seen:
        append_to(model_log, [entry("c", "3")])
    assert seen == ["SELECT", "SELECT", "SELECT", "DELETE", *writes()]


def test_an_append_to_a_channel_that_was_trimmed_whole_costs_no_more(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c"), entry("c")])
    model_log.trim("c", count=0)
    with executed() as seen:
        append_to(model_log, [entry("c", "next")])
    assert seen == ["SELECT", *writes()]
    assert_dense(everything(model_log, "c"), first=3)


def test_channels_move_by_what_each_was_given(model_log: ModelLog) -> None:
    append_to(model_log, [entry("a"), entry("b"), entry("c"), entry("d")])
    more = [entry("b"), entry("b"), entry("c"), terminal("c"), entry("d"), entry("d")]
    with executed() as seen:
        append_to(model_log, [entry("a"), *more])
    # One for a, one for b and d, one for c.
    assert seen.count("UPDATE") == (0 if connection.vendor == "postgresql" else 3)
    heads = model_log.heads("abcd")
    assert [(heads[name].head, heads[name].state) for name in "abcd"] == [
        (2, ""),
        (3, ""),
        (3, "done"),
        (3, ""),
    ]


def test_no_channels_are_none_of_them() -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements(connection).heads(0), [])
        assert cursor.fetchall() in ([], ())


def test_they_are_written_once_for_all_connections_of_a_kind() -> None:
    here = statements(connection)
    assert in_threads(lambda: statements(connection)) == [here]


# -- when an event was created


def _append_one_created(at: Any, held: threading.Event) -> None:
    """What `append` does, by another that has another clock, while somebody waits for it."""
    with transaction.atomic():
        row = Channel.objects.select_for_update().get(name="c")
        seq = row.head + 1
        StoredEvent.objects.create(channel=row, seq=seq, data="held", created=at, nonce=1)
        Channel.objects.filter(pk=row.pk).update(head=row.head + 1)
        held.set()
        until_somebody_waits_for_a_lock()


@pytest.mark.parametrize("names", ["c", "abc", "cd"])
def test_who_waited_for_the_row_sees_when_the_event_before_its_own_was_created(
    model_log: ModelLog, names: str
) -> None:
    skip_unless_writers_overlap()
    append_to(model_log, [entry(name) for name in "abcd"])
    ahead = timezone.now() + timedelta(hours=1)
    held = threading.Event()

    def append() -> None:
        assert held.wait(TIMEOUT)
        append_to(model_log, [entry(name, "waited") for name in names])

    in_threads(partial(_append_one_created, ahead, held), append)
    assert [each.data for each in everything(model_log, "c")] == ["x", "held", "waited"]
    assert created("c") == [created("c")[0], ahead, ahead]
    for name in set(names) - {"c"}:
        assert created(name)[-1] < ahead


def test_an_event_that_is_missing_though_it_was_never_trimmed_stops_nobody(
    model_log: ModelLog,
) -> None:
    append_to(model_log, [entry("c"), entry("c")])
    StoredEvent.objects.filter(seq=2).delete()
    before = timezone.now() - timedelta(seconds=2)
    append_to(model_log, [entry("c", "next")])
    assert [each.seq for each in everything(model_log, "c")] == [1, 3]
    assert before < created("c")[-1] < timezone.now() + timedelta(seconds=2)


# -- the time zone of the database


@pytest.fixture(scope="module")
def zoned(database: str, django_db_blocker: Any) -> Iterator[str]:
    """This database as a project has it whose times in it are not UTC."""
    config = {**connection.settings_dict, "TIME_ZONE": "Asia/Karachi"}
    with another_database("zoned", **config) as alias, django_db_blocker.unblock():
        yield alias


@pytest.mark.django_db(
    transaction=True, databases=["default", "zoned"], available_apps=["django_sse"]
)
def test_times_are_as_the_orm_reads_and_writes_them(zoned: str, settings: Any) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "DATABASE": zoned}
    log = ModelLog()
    append_to(log, [entry("c")])
    ahead = timezone.now() + timedelta(days=2)
    StoredEvent.objects.using(zoned).update(created=ahead)
    append_to(log, [entry("c")])
    times = StoredEvent.objects.using(zoned).values_list("created", flat=True)
    assert list(times) == [ahead, ahead]
    kinds = {id(statements(connections[alias])) for alias in ("default", "zoned")}
    assert len(kinds) == 2
