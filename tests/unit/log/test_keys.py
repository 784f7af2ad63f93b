"""The same key on the same channel is the same event; on every log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from django_sse import finish, publish, publish_many
from django_sse.exceptions import ChannelFinished, LogUnavailable
from django_sse.log import EventLog
from django_sse.log.base import KEY_AGE
from django_sse.log.memory import MemoryLog
from django_sse.log.model import ModelLog
from django_sse.log.orm import BATCH
from django_sse.log.outbox import MOVED_EVENTS
from django_sse.models import Channel, EventKey, OutboxEvent
from django_sse.runs import store
from tests.appending import append_to
from tests.positions import id_of
from tests.unit.log.support import (
    dropped,
    elsewhere,
    entry,
    hooks_lost,
    in_threads,
    publish_and_die,
    rolled_back,
    run_python,
    skip_unless_writers_overlap,
    texts,
)

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["django_sse"])


@pytest.fixture
def rows(database: str, model_log: ModelLog) -> ModelLog:
    return model_log


def age_keys(log: EventLog, seconds: float) -> None:
    """Make all keys older, as time would."""
    if isinstance(log, MemoryLog):
        ids = log._published._ids
        ids.update({key: (id, created - seconds) for key, (id, created) in ids.items()})
    else:
        EventKey.objects.update(created=F("created") - timedelta(seconds=seconds))


def execute(sql: str, params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


# -- the same event


def test_the_same_key_is_the_same_event(log: EventLog) -> None:
    first = publish("c", "paid", key="order-7-paid")
    publish("c", "shipped", key="order-7-shipped")
    assert publish("c", "another body", key="order-7-paid") == first == id_of("c", 1, log)
    assert elsewhere(partial(publish, "c", "x", key="order-7-paid")) == first
    assert texts(log, "c") == ["paid", "shipped"]


def test_a_key_belongs_to_its_channel(log: EventLog) -> None:
    assert publish("c", "1", key="k") == id_of("c", 1, log)
    assert publish("d", "2", key="k") == id_of("d", 1, log)
    assert publish("C", "3", key="k") == id_of("C", 1, log)
    assert publish("c", "4", key="K") == id_of("c", 2, log)


def test_it_is_the_same_event_after_the_end_and_after_it_was_removed(log: EventLog) -> None:
    trimmed, redacted = (publish("c", key, key=key) for key in ("trimmed", "redacted"))
    finish("c")
    log.trim("c", count=2)
    log.redact("c", 2)
    assert publish("c", "x", key="trimmed") == trimmed
    assert publish("c", "x", key="redacted") == redacted
    log.trim("c", count=0)
    assert publish_many([("c", "x"), ("c", "x")], keys=["redacted", "trimmed"]) == [
        *(redacted, trimmed)
    ]
    with pytest.raises(ChannelFinished):
        publish("c", "x", key="new")
    with pytest.raises(ChannelFinished):
        publish_many([("c", "x"), ("c", "x")], keys=["trimmed", None])


def test_each_event_of_many_has_its_key(log: EventLog) -> None:
    first = publish("c", "1", key="a")
    events = [("c", "a"), ("c", "b"), ("c", "unkeyed"), ("d", "a"), ("c", "b"), ("c", "unkeyed")]
    ids = publish_many(events, keys=["a", "b", None, "a", "b", None])
    b, d = id_of("c", 2, log), id_of("d", 1, log)
    assert ids == [first, b, id_of("c", 3, log), d, b, id_of("c", 4, log)]
    assert texts(log, "c") == ["1", "b", "unkeyed", "unkeyed"]
    assert publish_many([("c", "a"), ("d", "a")], keys=["a", "a"]) == [first, d]


def test_callers_that_share_a_commit_share_the_event(log: EventLog) -> None:
    groups = [
        [entry("c", "1", key="k")],
        [entry("d", key="k"), entry("c", "2", key="k")],
        [entry("c", "3")],
    ]
    appended, outcomes = log.append_each(groups)
    first = id_of("c", 1, log)
    assert outcomes == [[first], [id_of("d", 1, log), first], [id_of("c", 2, log)]]
    assert texts(log, "c") == ["1", "3"]
    assert sum(len(each.records) for each in appended) == 3
    assert log.append_each(groups[:2]) == ([], outcomes[:2])


def test_a_group_that_is_refused_leaves_no_key(log: EventLog) -> None:
    finish("ended")
    with pytest.raises(ChannelFinished):
        publish_many([("c", "1"), ("ended", "1")], keys=["k", "k"])
    assert publish("c", "2", key="k") == id_of("c", 1, log)
    assert texts(log, "c") == ["2"]


def test_one_of_many_threads_publishes_it(log: EventLog) -> None:
    ids = in_threads(*[partial(publish, "c", str(each), key="k") for each in range(8)])
    assert set(ids) == {id_of("c", 1, log)}
    assert len(texts(log, "c")) == 1


def test_keys_that_are_published_at_once_in_every_way_are_one_event_each(log: EventLog) -> None:
    names = [str(each) for each in range(20)]
    pairs = [(channel, name) for name in names for channel in "cd"]

    def one_by_one() -> None:
        for channel, name in pairs:
            publish(channel, name, key=name)

    def in_transactions() -> None:
        for name in names:
            with transaction.atomic():
                publish("d", name, key=name)
                publish("c", name, key=name)

    def together() -> None:
        backwards = pairs[::-1]
        for start in range(0, len(backwards), 8):
            some = backwards[start : start + 8]
            publish_many(some, keys=[name for _, name in some])

    publish_many(pairs, keys=[name for _, name in pairs])
    log.trim("c", count=0)
    log.trim("d", count=0)
    # Their old rows are taken over.
    age_keys(log, KEY_AGE)
    in_threads(one_by_one, in_transactions, together, together)
    for channel in "cd":
        assert sorted(texts(log, channel), key=int) == names


# -- for a day


def test_after_a_day_a_key_is_new(log: EventLog) -> None:
    first = publish("c", "1", key="k")
    age_keys(log, KEY_AGE - 60)
    assert publish("c", "x", key="k") == first
    age_keys(log, 61)
    second = publish("c", "2", key="k")
    assert second == id_of("c", 2, log)
    assert publish("c", "x", key="k") == second
    assert texts(log, "c") == ["1", "2"]


def test_old_keys_are_removed(log: EventLog) -> None:
    publish_many([("c", "x")] * (BATCH + 2), keys=map(str, range(BATCH + 2)))
    age_keys(log, KEY_AGE / 2)
    publish("c", "x", key="young")
    assert log.remove_old_keys() == 0
    age_keys(log, KEY_AGE / 2)
    assert log.remove_old_keys() == BATCH + 2
    assert log.remove_old_keys() == 0
    assert publish("c", "x", key="young") == id_of("c", BATCH + 3, log)


# -- in a transaction


def test_in_a_transaction_the_key_waits_with_the_event(log: EventLog) -> None:
    with transaction.atomic():
        assert publish("c", "1", key="k") is None
        assert publish_many([("c", "2"), ("c", "3")], keys=["k", None]) is None
    assert texts(log, "c") == ["1", "3"]
    with dropped() as heard, transaction.atomic():
        publish("c", "4", key="k")
    assert publish("c", "5", key="k") == id_of("c", 1, log)
    assert texts(log, "c") == ["1", "3"]
    assert heard == []


def test_a_key_that_was_rolled_back_is_free(log: EventLog) -> None:
    with rolled_back():
        publish("c", "1", key="k")
    with transaction.atomic():
        with rolled_back():
            publish("c", "2", key="k")
        publish("c", "3", key="k")
    assert texts(log, "c") == ["3"]


def test_an_event_that_was_published_meanwhile_is_dropped_silently(log: EventLog) -> None:
    skip_unless_writers_overlap(log)
    with dropped() as heard, transaction.atomic():
        publish("c", "1", key="k")
        assert elsewhere(partial(publish, "c", "2", key="k"))
        elsewhere(partial(finish, "c"))
    assert texts(log, "c") == ["2", "[DONE]"]
    assert heard == []


def test_an_event_with_a_new_key_behind_the_end_is_signalled(log: EventLog) -> None:
    skip_unless_writers_overlap(log)
    publish("c", "1", key="k")
    with dropped() as heard, transaction.atomic():
        publish_many([("c", "2"), ("c", "3")], keys=["k", "new"])
        elsewhere(partial(finish, "c"))
    assert heard == [("c", 1)]
    with pytest.raises(ChannelFinished):
        publish("c", "4", key="new")


@pytest.mark.parametrize("ended", [False, True], ids=["deferred", "sequenced"])
def test_in_a_transaction_a_key_is_the_same_event_behind_an_end(log: EventLog, ended: bool) -> None:
    with transaction.atomic():
        publish("c", "1", key="k")
        finish("c")
        if not ended:
            assert publish("c", "2", key="k") is None
            with pytest.raises(ChannelFinished):
                publish("c", "3", key="new")
    with dropped() as heard, transaction.atomic():
        assert publish("c", "2", key="k") is None
        with pytest.raises(ChannelFinished):
            publish_many([("c", "2"), ("c", "3")], keys=["k", None])
    assert texts(log, "c") == ["1", "[DONE]"]
    assert heard == []


# -- on a database


def test_keys_that_wait_in_the_outbox_are_published_once(rows: ModelLog) -> None:
    with hooks_lost():
        publish("c", "1", key="a")
        publish("c", "2", key="b")
    with hooks_lost():
        publish("c", "3", key="b")
        publish("c", "4")
    assert publish("c", "5", key="b") == id_of("c", 2)
    assert texts(rows, "c") == ["1", "2", "4"]
    assert not OutboxEvent.objects.exists()


def test_an_outbox_that_is_moved_in_parts_has_a_key_once(rows: ModelLog) -> None:
    count = MOVED_EVENTS + 2
    with transaction.atomic():
        publish_many(
            [("c", str(each)) for each in range(count)], keys=["k", *[None] * (count - 2), "k"]
        )
    assert texts(rows, "c") == [str(each) for each in range(count - 1)]


def test_a_process_that_dies_before_its_hook_leaves_the_key_with_the_event(rows: ModelLog) -> None:
    publish_and_die('publish("c", "1", key="k")')
    code, output = run_python('print(publish("c", "2", key="k"))')
    assert (code, output.strip()) == (0, id_of("c", 1))
    assert texts(rows, "c") == ["1"]


def test_a_day_old_key_in_the_outbox_is_new(rows: ModelLog) -> None:
    publish("c", "1", key="k")
    age_keys(rows, KEY_AGE + 1)
    with transaction.atomic():
        publish("c", "2", key="k")
    assert publish("c", "3", key="k") == id_of("c", 2)
    assert EventKey.objects.count() == 1


def test_a_key_that_a_clock_of_the_distant_future_has_stored_is_old(rows: ModelLog) -> None:
    publish("c", "1", key="k")
    age_keys(rows, -10 * 365 * 86400)
    assert publish("c", "2", key="k") == id_of("c", 2)
    assert rows.remove_old_keys() == 0
    age_keys(rows, -10 * 365 * 86400)
    assert rows.remove_old_keys() == 1


def test_a_commit_whose_answer_is_lost_is_repeated_with_its_key(
    rows: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no connection that can be lost: PostgreSQL and MariaDB show it")
    publish("c", "0")
    commit: Callable[[], None] = connection._commit  # type: ignore[attr-defined]
    session, end = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%s)"),
        "mysql": ("SELECT CONNECTION_ID()", "KILL %s"),
    }[connection.vendor]

    def commit_and_lose_the_connection() -> None:
        with connection.cursor() as cursor:
            cursor.execute(session)
            its = cursor.fetchone()
            commit()
            elsewhere(partial(execute, end, its))
            # The driver's error for a lost connection.
            cursor.execute(session)

    with monkeypatch.context() as patch:
        patch.setattr(connection, "_commit", commit_and_lose_the_connection)
        with pytest.raises(LogUnavailable):
            publish("c", "1", key="k")
    assert publish("c", "1", key="k") == id_of("c", 2)
    assert texts(rows, "c") == ["0", "1"]


def test_removing_a_channel_removes_its_keys(rows: ModelLog) -> None:
    run = store.create("owner", lease=uuid4(), dialect="plain", while_connected=False)
    append_to(rows, [entry(run.channel, key="k")])
    publish("c", "1", key="k")
    assert EventKey.objects.count() == 2
    store.discard([run])
    assert EventKey.objects.get().channel.name == "c"


def test_a_key_of_a_channel_that_is_gone_is_new_in_the_next_one(rows: ModelLog) -> None:
    publish("c", "1", key="k")
    publish("c", "2", key="l")
    # As if a publish overlapped with the removal.
    Channel.objects.all()._raw_delete("default")
    assert publish("c", "3", key="l") == id_of("c", 1)
    assert publish("c", "4", key="k") == publish("c", "5", key="k") == id_of("c", 2)


def test_without_a_key_there_is_no_extra_statement(rows: ModelLog) -> None:
    def statements(call: Callable[[], Any]) -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            call()
        return [each["sql"] for each in queries if "eventkey" in each["sql"]]

    publish("c", "0")
    assert statements(partial(publish, "c", "1")) == []
    assert statements(partial(publish_many, [("c", "1"), ("d", "2")])) == []
    with hooks_lost():
        publish("c", "2")
    assert statements(partial(rows.sequence, ["c"])) == []
    assert len(statements(partial(publish, "c", "1", key="k"))) == 2
    assert len(statements(partial(publish, "c", "1", key="k"))) == 1
