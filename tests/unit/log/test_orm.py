from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from django_sse import Event, publish, publish_many
from django_sse.exceptions import EventTooLarge, LogUnavailable
from django_sse.log import get_log
from django_sse.log.model import ModelLog
from django_sse.models import Channel, StoredEvent
from tests.appending import append_to
from tests.unit.log.support import (
    ON_A_DATABASE,
    announce_nothing,
    another_database,
    assert_dense,
    entry,
    everything,
    orphan,
    texts,
)

pytestmark = ON_A_DATABASE


# -- Ctrl-C


def test_an_interrupt_is_not_covered_by_an_error_that_follows_from_it(
    model_log: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("of psycopg: between its steps it leaves the statement under way")
    connection.ensure_connection()

    def cut(self: Any) -> None:
        self.pgconn.send_query(b"COMMIT")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(connection.connection), "commit", cut)
        with pytest.raises(KeyboardInterrupt):
            publish("c", "1")
    publish("c", "2")
    assert texts(model_log, "c")[-1] == "2"


# -- large events


@pytest.fixture
def packet(model_log: ModelLog, settings: Any) -> int:
    """The bytes that MySQL takes at once; an event may be larger."""
    if connection.vendor != "mysql":
        pytest.skip("max_allowed_packet is MySQL's and MariaDB's")
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "LIMITS": {"MAX_EVENT_BYTES": 64 << 20}}
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        size: int = cursor.fetchone()[0]
    return size


@pytest.mark.usefixtures("packet")
def test_more_than_one_packet_of_mysql_goes_through_the_outbox_at_once(model_log: ModelLog) -> None:
    # 24 MiB; max_allowed_packet is 16 MiB by default.
    large = ["x" * (256 << 10)] * 96
    orphan(model_log, *[entry("c", each) for each in large])
    append_to(model_log, [entry("c", "last")])
    assert_dense(everything(model_log, "c"))
    assert texts(model_log, "c") == [*large, "last"]


def test_an_event_larger_than_mysql_takes_is_refused_and_says_so(
    model_log: ModelLog, packet: int
) -> None:
    half = packet // 2
    # Each of these is escaped by a second one.
    publish("c", "\\" * (half - 1000))
    with pytest.raises(EventTooLarge, match="max_allowed_packet"):
        publish("c", "x" * (half + 1))
    with pytest.raises(EventTooLarge, match="max_allowed_packet"), transaction.atomic():
        publish("c", "x" * (half + 1))
    publish("c", "2")
    assert [len(each) for each in texts(model_log, "c")] == [half - 1000, 1]


def test_who_is_told_of_one_can_go_on_with_the_transaction(
    model_log: ModelLog, packet: int
) -> None:
    with transaction.atomic():
        with pytest.raises(EventTooLarge):
            publish_many([("c", "never"), ("c", "x" * packet)])
        publish("c", "too large, see there")
    assert texts(model_log, "c") == ["too large, see there"]


# -- text


def test_every_character_comes_back_as_it_was(model_log: ModelLog) -> None:
    # Four bytes in UTF-8, and what a database may take for something else.
    text = "😀\U0010fffd\u2028 \\ \\0 \\' ' \" % %s ` \x1a \x01 \ufeff é e\u0301"
    publish(text.replace("\x1a", "").replace("\x01", ""), Event(text, event="type 😀"))
    with transaction.atomic():
        publish("c", Event(text, event="type 😀"))
    for name in model_log.channels():
        assert [(each.type, each.data) for each in everything(model_log, name)] == [
            ("type 😀", text)
        ]
    assert len(list(model_log.channels())) == 2


def test_orphans_of_names_that_a_database_takes_for_one_are_all_told(model_log: ModelLog) -> None:
    names = ["Order-A", "order-a", "order-a ", "order-á"]
    orphan(model_log, *[entry(name, name) for name in names])
    assert sorted(model_log.orphans()) == sorted(names)
    model_log.sequence(model_log.orphans())
    assert [texts(model_log, name) for name in names] == [[name] for name in names]


# -- the clock


@pytest.fixture(scope="module")
def elsewhere_on_earth(database: str, django_db_blocker: Any) -> Iterator[str]:
    """This database with sessions in another time zone, as a server's own default may be."""
    options: dict[str, dict[str, Any]] = {
        "mysql": {"init_command": "SET time_zone = '+05:00'"},
        "postgresql": {"options": "-c timezone=Asia/Karachi"},
        "sqlite": {},
    }
    config = {**connection.settings_dict, "OPTIONS": options[connection.vendor]}
    with another_database("elsewhere", **config) as alias, django_db_blocker.unblock():
        yield alias


@pytest.mark.django_db(
    transaction=True, databases=["default", "elsewhere"], available_apps=["django_sse"]
)
def test_the_clock_is_right_whatever_the_sessions_time_zone(
    elsewhere_on_earth: str, settings: Any
) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "DATABASE": elsewhere_on_earth}
    log = get_log()
    append_to(log, [entry("c")])
    (head,) = log.make(["c"])
    seen = [log.now(head)]
    seen += StoredEvent.objects.using(elsewhere_on_earth).values_list("created", flat=True)
    channels = Channel.objects.using(elsewhere_on_earth)
    seen += channels.values_list("created").get()
    assert len(seen) == 3
    assert all(abs(each - timezone.now()) < timedelta(minutes=5) for each in seen)


@pytest.mark.parametrize("zone", ["Asia/Karachi", "America/New_York", "UTC"])
def test_without_time_zones_the_clock_is_the_projects(
    model_log: ModelLog, settings: Any, zone: str
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, zone
    local = datetime.now(ZoneInfo(zone)).replace(tzinfo=None)
    append_to(model_log, [entry("c")])
    (head,) = model_log.make(["c"])
    for seen in (model_log.now(head), StoredEvent.objects.get().created):
        assert abs(seen - local) < timedelta(minutes=5)
    hour = timedelta(hours=1)
    assert [model_log.seq_before(head, local + by) for by in (-hour, hour)] == [0, 1]


def test_the_clock_is_finer_than_a_second(model_log: ModelLog) -> None:
    (head,) = model_log.make(["c"])
    assert len({model_log.now(head).microsecond for _ in range(20)}) > 1


# -- errors of the database


def test_a_deferred_event_that_the_database_refuses_is_the_callers_error(
    model_log: ModelLog,
) -> None:
    def full(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("INSERT"):
            raise OperationalError("database or disk is full")
        return execute(sql, params, many, context)

    with (
        pytest.raises(LogUnavailable, match="disk is full"),
        transaction.atomic(),
        connection.execute_wrapper(full),
    ):
        model_log.defer([entry("c")], announce_nothing)
    append_to(model_log, [entry("c", "1")])
    assert texts(model_log, "c") == ["1"]
