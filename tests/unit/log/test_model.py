from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from django_sse.exceptions import ChannelFinished, LogUnavailable
from django_sse.log.base import Appended, Head, Kind
from django_sse.log.model import ModelLog
from django_sse.models import Channel, OutboxEvent, StoredEvent
from tests.appending import append_to, finish_in
from tests.unit.log.support import (
    ON_A_DATABASE,
    Stored,
    announce_nothing,
    assert_dense,
    elsewhere,
    entry,
    everything,
    fill,
    hooks_lost,
    in_threads,
    rolled_back,
    savepoint_by_hand,
    terminal,
    texts,
)

pytestmark = ON_A_DATABASE


def gone(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    """An execute wrapper: the database is away."""
    raise OperationalError("server closed the connection unexpectedly")


# -- deferred events that lost their hook


def test_an_earlier_hook_that_raises_costs_time_but_no_event(model_log: ModelLog) -> None:
    with hooks_lost():
        model_log.defer([entry("c", "1")], announce_nothing)
    assert texts(model_log, "c") == []
    assert model_log.orphans() == ["c"]
    append_to(model_log, [entry("c", "2")])
    assert texts(model_log, "c") == ["1", "2"]


def test_a_log_that_is_away_at_the_commit_costs_time_but_no_event(
    model_log: ModelLog, caplog: pytest.LogCaptureFixture
) -> None:
    with transaction.atomic():
        model_log.defer([entry("c", "1")], announce_nothing)
        wrapper = connection.execute_wrapper(gone)
        # Runs before ours, and only then is the database away.
        hooks: list[Any] = connection.run_on_commit
        hooks.insert(0, (set(), wrapper.__enter__, False))
    wrapper.__exit__(None, None, None)
    assert "server closed the connection unexpectedly" in caplog.text
    assert model_log.orphans() == ["c"]
    model_log.sequence(model_log.orphans())
    assert texts(model_log, "c") == ["1"]


def test_a_hook_lost_with_its_savepoint_is_made_up_for_by_the_others(model_log: ModelLog) -> None:
    with transaction.atomic():
        savepoint = savepoint_by_hand()
        model_log.defer([entry("c", "never")], announce_nothing)
        transaction.savepoint_rollback(savepoint)
        model_log.defer([entry("c", "1")], announce_nothing)
        try:
            with transaction.atomic():
                model_log.defer([entry("c", "never")], announce_nothing)
                raise KeyError
        except KeyError:
            model_log.defer([entry("c", "2")], announce_nothing)
    assert texts(model_log, "c") == ["1", "2"]
    assert OutboxEvent.objects.count() == 0


def test_a_savepoint_rolled_back_by_hand_takes_its_events_along(model_log: ModelLog) -> None:
    # Django runs the hooks of such a savepoint all the same.
    announced: list[Appended] = []
    with transaction.atomic():
        savepoint = savepoint_by_hand()
        model_log.defer([entry("c", "never")], announced.extend)
        transaction.savepoint_rollback(savepoint)
    assert texts(model_log, "c") == []
    assert announced == []


def test_orphans_are_told_for_all_channels_up_to_a_limit(model_log: ModelLog) -> None:
    names = [f"channel-{number}" for number in range(7)]
    with hooks_lost():
        for name in names:
            model_log.defer([entry(name), entry(name)], announce_nothing)
    assert sorted(model_log.orphans()) == names
    some = model_log.orphans(3)
    assert len(set(some)) == 3
    model_log.sequence(some)
    assert sorted([*some, *model_log.orphans()]) == names


def test_events_of_a_transaction_that_is_still_open_are_no_orphans(model_log: ModelLog) -> None:
    with transaction.atomic():
        model_log.defer([entry("c")], announce_nothing)
        assert elsewhere(model_log.orphans) == []
    assert model_log.orphans() == []


# -- the database


def _calls(log: ModelLog, head: Head) -> dict[str, Callable[[], object]]:
    return {
        "append": partial(append_to, log, [entry("c")]),
        "append to a new channel": partial(append_to, log, [entry("new")]),
        "finish": partial(finish_in, log, terminal("c")),
        "sequence": partial(log.sequence, ["c"]),
        "orphans": log.orphans,
        "open": partial(log.open, ["c"]),
        "make": partial(log.make, ["c"]),
        "minute": log.minute,
        "heads": partial(log.heads, ["c"]),
        "read": partial(log.read, head.key, 0, 10),
        "seq_before": partial(log.seq_before, head, timezone.now()),
        "trim": partial(log.trim, "c", age=datetime.timedelta(0), count=0),
        "channels": lambda: list(log.channels()),
        "redact": partial(log.redact, "c", 1),
        "tag": partial(log.tag, head.key, 1),
    }


def test_a_database_that_is_away_is_told_by_one_error(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c", "1")])
    (head,) = model_log.make(["c"])
    calls = _calls(model_log, head)
    for call in calls.values():
        with connection.execute_wrapper(gone), pytest.raises(LogUnavailable, match="server closed"):
            call()
    assert model_log.make(["c"]) == [head]
    assert texts(model_log, "c") == ["1"]


def test_a_trim_whose_database_goes_away_in_the_middle_is_told_by_the_same_error(
    model_log: ModelLog,
) -> None:
    append_to(model_log, [entry("c") for _ in range(10)])

    class GoneAfter:
        def __init__(self, statements: int) -> None:
            self.left = statements

        def __call__(self, execute: Any, *args: Any) -> Any:
            self.left -= 1
            return execute(*args) if self.left >= 0 else gone(execute, *args)

    done = None
    failed = 0
    while done is None:
        with connection.execute_wrapper(GoneAfter(failed)):
            try:
                done = model_log.trim("c", count=3, age=datetime.timedelta(days=1))
            except LogUnavailable:
                failed += 1
    # Asked for the head and the age, moved the floor, looked for rows, removed them, looked again.
    assert failed > 5
    assert_dense(everything(model_log, "c"), 8)


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_the_log_may_be_in_another_database(model_log: ModelLog, other: str, settings: Any) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "DATABASE": other}
    # Whatever the project's router says: the log is where DATABASE says.
    settings.DATABASE_ROUTERS = [f"{__name__}.Router"]
    with transaction.atomic(using=other):
        assert model_log.in_transaction()
        model_log.defer([entry("c", "1"), entry("d", "1")], announce_nothing)
    assert texts(model_log, "c") == ["1"]
    with rolled_back(other):
        model_log.defer([entry("c", "never")], announce_nothing)
    append_to(model_log, [entry("c", "2"), terminal("d")])
    with pytest.raises(ChannelFinished):
        append_to(model_log, [entry("d")])
    assert texts(model_log, "c") == ["1", "2"]
    (head,) = model_log.make(["c"])
    assert model_log.seq_before(head, timezone.now() + datetime.timedelta(1)) == 2
    assert model_log.redact("c", 2)
    assert model_log.trim("c", count=1, age=datetime.timedelta(days=1)) == 1
    assert list(model_log.channels()) == ["c", "d"]
    assert model_log.orphans() == []
    assert Channel.objects.using("default").count() == 0


class Router:
    """Would send the log elsewhere."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "default"

    db_for_write = db_for_read


def test_a_page_is_read_through_the_index(model_log: ModelLog) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a small table is scanned elsewhere, and rightly")
    append_to(model_log, [entry("c") for _ in range(10)])
    (head,) = model_log.make(["c"])
    plans: list[str] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        asked = connection.connection.execute(
            "EXPLAIN QUERY PLAN " + sql.replace("%s", "?"), params
        )
        plans.extend(row[3] for row in asked.fetchall())
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        model_log.read(head.key, 3, 5)
    assert len(plans) == 1
    assert plans[0].startswith("SEARCH")
    assert "channel_id=? AND seq>?" in plans[0]


def test_postgresql_reads_no_more_than_the_page(model_log: ModelLog) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL alone reads all that follow, while it has no statistics")
    fill("c", 10_000, 100)
    (head,) = model_log.make(["c"])
    read: list[int] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        with connection.cursor() as asked:
            asked.cursor.execute(f"EXPLAIN ANALYZE {sql}", params)
            plan = " ".join(row[0] for row in asked.fetchall())
        read.extend(map(int, re.findall(r"actual time=\S+ rows=(\d+)", plan)))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        assert len(model_log.read(head.key, 1_000, 50).records) == 50
        assert len(model_log.read(head.key, 1_000, 5).records) == 5
    # One more, for the tag of the event before them.
    assert max(read) == 51


def test_a_hole_larger_than_a_page_is_read_over(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c") for _ in range(100)])
    (head,) = model_log.make(["c"])
    StoredEvent.objects.filter(seq__lte=90).delete()
    for limit in (1, 5, 20):
        assert model_log.read(head.key, 3, limit).records[0].seq == 91


def test_the_database_takes_no_number_twice(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c")])
    with pytest.raises(IntegrityError):
        StoredEvent.objects.create(
            channel=Channel.objects.get(name="c"), seq=1, created=timezone.now(), nonce=1
        )


# -- a log that is not what it was


def test_a_channel_that_was_deleted_begins_anew_with_another_epoch(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c", "old")])
    (old,) = model_log.make(["c"])
    Channel.objects.all().delete()
    (done,) = append_to(model_log, [entry("c", "new")])
    assert done.epoch != old.epoch
    assert everything(model_log, "c") == [Stored(1, "", "new")]
    assert model_log.read(old.key, 0, 10).records == []


# -- redact


def test_redact_takes_all_of_the_text(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c", "secret", "secret"), entry("d", "secret")])
    model_log.redact("c", 1)
    row = StoredEvent.objects.get(channel__name="c")
    assert (row.kind, row.type, row.data) == (Kind.REDACTED, "", "")
    assert texts(model_log, "d") == ["secret"]


def test_redact_and_append_do_not_disturb_each_other(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c", "secret") for _ in range(20)])

    def write() -> None:
        for _ in range(20):
            append_to(model_log, [entry("c", "open")])

    def redact() -> list[bool]:
        return [model_log.redact("c", seq) for seq in range(1, 21)]

    _, _, first, second = in_threads(write, write, redact, redact)
    assert [a + b for a, b in zip(first or [], second or [], strict=True)] == [1] * 20
    assert texts(model_log, "c") == [""] * 20 + ["open"] * 40
    (head,) = model_log.make(["c"])
    assert (head.head, head.redactions) == (60, 20)


def test_mariadb_redacts_through_the_index(model_log: ModelLog) -> None:
    if connection.vendor != "mysql":
        pytest.skip("elsewhere a subquery is as good as its result")
    fill("another", 1_000, 10)
    append_to(model_log, [entry("c", "secret"), entry("c")])
    plans: list[tuple[str, str]] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "UPDATE" in sql and "storedevent" in sql:
            with connection.cursor() as asked:
                asked.cursor.execute(f"EXPLAIN {sql}", params)
                plans.extend((row[2], row[3]) for row in asked.fetchall())
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        assert model_log.redact("c", 1)
    # Not ALL or index: that is each row of all channels, locked on the way.
    assert ("django_sse_storedevent", "range") in plans
    assert not {"ALL", "index"} & {access for _, access in plans}
