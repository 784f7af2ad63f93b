"""A database that reads but does not write: read-only, or full. On each database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.signals import connection_created

from django_sse import cursor, finish, publish, publish_many
from django_sse.exceptions import LogUnavailable
from django_sse.hub.channel_stream import ChannelStream
from django_sse.log import EventLog
from django_sse.log.model import ModelLog
from tests.appending import append_to, finish_in
from tests.unit.log.support import (
    ON_A_DATABASE,
    announce_nothing,
    assert_dense,
    entry,
    everything,
    orphan,
    terminal,
    texts,
)

pytestmark = ON_A_DATABASE

READ_ONLY = {
    "sqlite": "PRAGMA query_only=ON",
    "postgresql": "SET default_transaction_read_only = on",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def on_each_connection(statement: str) -> Iterator[None]:
    """Runs `statement` on the connection that is open, and on those that replace it: after an
    error the log closes its own."""

    def run(**kwargs: Any) -> None:
        execute(statement)

    execute(statement)
    connection_created.connect(run)
    try:
        yield
    finally:
        connection_created.disconnect(run)
        connection.close()


@pytest.fixture
def read_only_log(model_log: ModelLog) -> Iterator[EventLog]:
    """The log in a database whose disk, role or server takes no writes."""
    append_to(model_log, [entry("c", "1"), entry("c", "2")])
    with on_each_connection(READ_ONLY[connection.vendor]):
        yield model_log


# -- read-only


WRITES: dict[str, Callable[[EventLog], object]] = {
    "append": lambda log: append_to(log, [entry("c")]),
    "append to a new channel": lambda log: append_to(log, [entry("new")]),
    "finish": lambda log: finish_in(log, terminal("c")),
    "make a new channel": lambda log: log.make(["new"]),
    "trim": lambda log: log.trim("c", count=1),
    "redact": lambda log: log.redact("c", 1),
}


@pytest.mark.parametrize("write", list(WRITES))
def test_a_write_to_a_read_only_database_is_refused_and_says_why(
    read_only_log: EventLog, write: str
) -> None:
    with pytest.raises(LogUnavailable, match=r"'default'.*(?i:read.?only)"):
        WRITES[write](read_only_log)
    assert texts(read_only_log, "c") == ["1", "2"]


def test_nor_can_an_event_be_deferred(read_only_log: EventLog) -> None:
    # On SQLite the immediate transaction is refused before anything is published in it.
    errors = (LogUnavailable, OperationalError)
    with pytest.raises(errors, match=r"(?i)read.?only"), transaction.atomic():
        read_only_log.defer([entry("c")], announce_nothing)


@pytest.mark.parametrize(
    "call",
    [
        partial(publish, "c", "x"),
        partial(publish_many, [("c", "x"), ("d", "y")]),
        partial(finish, "c"),
    ],
    ids=["publish", "publish_many", "finish"],
)
def test_the_publisher_is_told(read_only_log: EventLog, call: Callable[[], object]) -> None:
    with pytest.raises(LogUnavailable, match=r"(?i)read.?only"):
        call()


def test_a_read_only_database_is_read(read_only_log: EventLog) -> None:
    (head,) = read_only_log.open(["c"])
    assert (head.head, head.floor) == (2, 0)
    assert read_only_log.heads(["c", "d"]) == {"c": head}
    assert texts(read_only_log, "c") == ["1", "2"]
    assert list(read_only_log.channels()) == ["c"]
    assert read_only_log.orphans() == []
    assert read_only_log.sequence(["c"]) == []
    assert read_only_log.seq_before(head, read_only_log.now(head) + timedelta(days=1)) == 2
    assert read_only_log.trim_floor(head, count=1) == 1
    assert cursor("c") == str(head.position)
    # A subscription writes nothing, so the channel need not be there.
    assert ChannelStream("new").settle()


@pytest.mark.parametrize(
    "call",
    [partial(cursor, "c"), lambda: ChannelStream("c").settle()],
    ids=["cursor", "subscribe"],
)
def test_so_it_is_with_one_that_has_what_nobody_can_number(
    model_log: ModelLog, call: Callable[[], object]
) -> None:
    append_to(model_log, [entry("c", "1")])
    orphan(model_log, entry("c", "2"))
    with on_each_connection(READ_ONLY[connection.vendor]):
        assert call()
        with pytest.raises(LogUnavailable, match=r"(?i)read.?only"):
            model_log.sequence(["c"])
        assert texts(model_log, "c") == ["1"]
    assert call()
    assert texts(model_log, "c") == ["1", "2"]


# -- full


TRIGGERS = {
    "postgresql": (
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$",
        "CREATE TRIGGER full_disk BEFORE INSERT ON {} EXECUTE FUNCTION full_disk()",
        "DROP FUNCTION full_disk CASCADE",
    ),
    "mysql": (
        "",
        "CREATE TRIGGER full_disk BEFORE INSERT ON {} FOR EACH ROW SIGNAL SQLSTATE 'HY000' "
        "SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'",
        "DROP TRIGGER full_disk",
    ),
}


@contextmanager
def full(table: str) -> Iterator[None]:
    """The database has no room: SQLite for nothing, the others, by the error they have for it, for
    no row of ``table``."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            # Pages that other tests left free would take what has no room.
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA page_count")
            (pages,) = cursor.fetchone()
        with on_each_connection(f"PRAGMA max_page_count = {pages}"):
            yield
        return
    before, make, undo = TRIGGERS[connection.vendor]
    execute(*filter(None, [before, make.format(table)]))
    try:
        yield
    finally:
        execute(undo)


LARGE = "x" * (200 << 10)
REASON = r"'default'.*(full|No space left)"


def test_a_full_database_is_told_to_the_publisher_and_loses_nothing(model_log: ModelLog) -> None:
    publish("c", "1")
    with full("django_sse_storedevent"):
        for _ in range(2):
            with pytest.raises(LogUnavailable, match=REASON):
                publish("c", LARGE)
        assert texts(model_log, "c") == ["1"]
    publish("c", "2")
    assert texts(model_log, "c") == ["1", "2"]
    assert_dense(everything(model_log, "c"))


def test_a_full_database_fails_the_transaction_that_publishes(model_log: ModelLog) -> None:
    with (
        full("django_sse_outboxevent"),
        pytest.raises(LogUnavailable, match=REASON),
        transaction.atomic(),
    ):
        publish("c", LARGE)
    publish("c", "1")
    assert texts(model_log, "c") == ["1"]


def test_what_was_committed_before_the_database_was_full_is_sequenced_later(
    model_log: ModelLog,
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("on SQLite what leaves the outbox makes room for itself")
    orphan(model_log, *[entry("c", LARGE)] * 3)
    with full("django_sse_storedevent"):
        with pytest.raises(LogUnavailable, match=REASON):
            model_log.sequence(["c"])
        assert model_log.orphans() == ["c"]
    model_log.sequence(model_log.orphans())
    assert len(everything(model_log, "c")) == 3
    assert model_log.orphans() == []


def test_a_hook_that_meets_a_full_database_leaves_its_events_for_later(
    model_log: ModelLog, caplog: pytest.LogCaptureFixture
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("on SQLite what leaves the outbox makes room for itself")
    context = full("django_sse_storedevent")
    with transaction.atomic():
        transaction.on_commit(context.__enter__)
        publish("c", LARGE)
        publish("c", LARGE)
    context.__exit__(None, None, None)
    assert "LogUnavailable" in caplog.text
    assert model_log.orphans() == ["c"]
    publish("c", "last")
    assert [len(each) for each in texts(model_log, "c")] == [len(LARGE), len(LARGE), 4]
