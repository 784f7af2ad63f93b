from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_sse.log.model import ModelLog
from django_sse.log.trimming import BATCH, trim
from django_sse.models import Channel, StoredEvent
from tests.appending import append_to
from tests.rewinding import Copy
from tests.unit.log.support import age, assert_dense, elsewhere, entry, everything, in_threads

pytestmark = [
    pytest.mark.django_db(transaction=True, available_apps=["django_sse"]),
    pytest.mark.usefixtures("database"),
]


class AtDelete:
    """Calls `look` before each DELETE of events, with that statement's number, from 1."""

    def __init__(self, look: Any) -> None:
        self.count = 0
        self._look = look

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("DELETE") and "storedevent" in sql:
            self.count += 1
            self._look(self.count)
        return execute(sql, params, many, context)


def stored(channel: str) -> int:
    return StoredEvent.objects.filter(channel__name=channel).count()


def test_the_floor_is_committed_before_the_first_row_goes(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c") for _ in range(10)])
    seen: list[tuple[int, int]] = []

    def look(number: int) -> None:
        floor = elsewhere(lambda: Channel.objects.get(name="c").floor)
        seen.append((floor, elsewhere(partial(stored, "c"))))

    with connection.execute_wrapper(AtDelete(look)):
        assert model_log.trim("c", count=3) == 7
    assert seen == [(7, 10)]
    assert stored("c") == 3


def test_rows_go_in_bounded_batches_each_committed(model_log: ModelLog) -> None:
    total = 2 * BATCH + 700
    append_to(model_log, [entry("c") for _ in range(total)])
    left: list[int] = []
    watch = AtDelete(lambda number: left.append(elsewhere(partial(stored, "c"))))
    with connection.execute_wrapper(watch):
        assert model_log.trim("c", count=200) == total - 200
    assert left == [total, total - BATCH, total - 2 * BATCH]
    assert_dense(everything(model_log, "c"), total - 199)


def test_a_trim_that_was_interrupted_is_finished_by_the_next(model_log: ModelLog) -> None:
    total = 2 * BATCH
    append_to(model_log, [entry("c") for _ in range(total)])

    def interrupt(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with connection.execute_wrapper(AtDelete(interrupt)), pytest.raises(KeyboardInterrupt):
        model_log.trim("c", count=10)
    (head,) = model_log.make(["c"])
    assert head.floor == total - 10
    assert stored("c") == total - BATCH
    # What is below the floor is gone for every reader, rows or not.
    assert model_log.trim("c", count=10) == total - BATCH - 10
    assert stored("c") == 10


def test_a_floor_never_sinks(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c") for _ in range(10)])
    model_log.trim("c", count=2)
    assert model_log.trim("c", count=9) == 0
    assert model_log.make(["c"])[0].floor == 8


def test_nor_does_it_for_one_that_looked_before_another_trimmed(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c") for _ in range(10)])
    (old_head,) = model_log.make(["c"])
    model_log.trim("c", count=2)
    assert trim("default", old_head, model_log.trim_floor(old_head, count=9)) == 0
    assert model_log.make(["c"])[0].floor == 8


def test_a_log_that_was_rewound_meanwhile_loses_none_of_its_events(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c") for _ in range(3)])
    copy = Copy(model_log, "c")
    append_to(model_log, [entry("c") for _ in range(7)])
    (old_head,) = model_log.open(["c"])
    copy.restore()
    assert trim("default", old_head, 8) == 0
    append_to(model_log, [entry("c") for _ in range(7)])
    assert_dense(everything(model_log, "c"))


def test_many_that_trim_at_once_remove_each_event_once(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c") for _ in range(300)])
    counts = [250, 200, 150, 100, 50]
    removed = in_threads(*[partial(model_log.trim, "c", count=count) for count in counts])
    assert sum(removed) == 250
    assert model_log.make(["c"])[0].floor == 250
    assert_dense(everything(model_log, "c"), 251)


def test_appends_go_on_while_a_channel_is_trimmed(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c") for _ in range(50)])

    def write() -> None:
        for _ in range(20):
            append_to(model_log, [entry("c")])

    def keep_five() -> None:
        for _ in range(10):
            model_log.trim("c", count=5)

    in_threads(write, write, keep_five, keep_five)
    (head,) = model_log.make(["c"])
    assert head.head == 90
    records = everything(model_log, "c")
    assert_dense(records, head.floor + 1)
    assert records[-1].seq == 90


def test_age_is_measured_by_the_databases_clock(
    model_log: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_to(model_log, [entry("c") for _ in range(4)])
    age(model_log, "c", timedelta(hours=3), 2)
    # This machine's clock is a day ahead.
    ahead = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: ahead)
    assert model_log.trim("c", age=timedelta(hours=2)) == 2


def test_a_channel_that_is_deleted_meanwhile_has_nothing_to_trim(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c") for _ in range(4)])
    (head,) = model_log.make(["c"])
    Channel.objects.all().delete()
    assert model_log.trim_floor(head, age=timedelta(hours=2)) == 4
    assert trim("default", head, 4) == 0


def test_the_age_of_an_event_is_found_without_reading_them_all(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c") for _ in range(1000)])
    age(model_log, "c", timedelta(days=3), 613)
    (head,) = model_log.make(["c"])
    with CaptureQueriesContext(connection) as queries:
        assert model_log.seq_before(head, timezone.now() - timedelta(days=1)) == 613
    assert len(queries) <= 10


def test_an_event_that_was_trimmed_meanwhile_is_older_than_any_moment(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c") for _ in range(100)])
    (old_head,) = model_log.make(["c"])
    model_log.trim("c", count=10)
    long_ago = timezone.now() - timedelta(days=9)
    assert model_log.seq_before(old_head, long_ago) == 90
    age(model_log, "c", timedelta(days=3), 95)
    assert model_log.seq_before(old_head, timezone.now() - timedelta(days=1)) == 95
