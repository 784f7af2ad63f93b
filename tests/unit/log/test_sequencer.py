from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_sse.exceptions import ChannelFinished
from django_sse.log import EventLog, get_log, locking, orm, outbox, sequencer
from django_sse.log.base import Kind
from django_sse.log.model import ModelLog
from django_sse.log.orm import BATCH
from django_sse.models import Channel, OutboxEvent, StoredEvent
from tests.appending import append_to, finish_in
from tests.unit.log.support import (
    ON_A_DATABASE,
    TIMEOUT,
    Stored,
    announce_nothing,
    another_database,
    assert_dense,
    dropped,
    elsewhere,
    entry,
    everything,
    give_up_soon,
    in_threads,
    locked,
    orphan,
    skip_unless_writers_overlap,
    stored,
    terminal,
    texts,
    until_somebody_waits_for_a_lock,
)

pytestmark = ON_A_DATABASE


def times(channel: str) -> list[Any]:
    rows = StoredEvent.objects.filter(channel__name=channel).order_by("seq")
    return list(rows.values_list("created", flat=True))


def telling(failed: list[str]) -> Any:
    """An execute wrapper that adds each error of the database to `failed`."""

    def tell(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        try:
            return execute(sql, params, many, context)
        except DatabaseError as error:
            failed.append(f"{error}: {sql}")
            raise

    return tell


class Interference:
    """Does something once, before the first statement that has all of some words."""

    def __init__(self, act: Callable[[], object], *words: str) -> None:
        self.done = False
        self._act, self._words = act, words

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not self.done and all(word in sql for word in self._words):
            self.done = True
            self._act()
        return execute(sql, params, many, context)


# -- many writers


@pytest.mark.parametrize("first_to_commit", ["earlier", "later"])
def test_of_two_transactions_the_first_to_commit_comes_first(
    model_log: ModelLog, first_to_commit: str
) -> None:
    skip_unless_writers_overlap()
    append_to(model_log, [entry("c", "before")])
    deferred = {"earlier": threading.Event(), "later": threading.Event()}
    committed = threading.Event()

    def write(name: str) -> None:
        with transaction.atomic():
            if name == "later":
                assert deferred["earlier"].wait(60)
            model_log.defer([entry("c", name)], announce_nothing)
            deferred[name].set()
            assert deferred["later"].wait(60)
            if name != first_to_commit:
                assert committed.wait(60)
        committed.set()

    in_threads(partial(write, "earlier"), partial(write, "later"))
    second = "earlier" if first_to_commit == "later" else "later"
    assert texts(model_log, "c") == ["before", first_to_commit, second]
    assert_dense(everything(model_log, "c"))


@pytest.mark.parametrize("undone", ["earlier", "later"])
def test_of_two_transactions_that_overlap_one_may_leave_nothing(
    model_log: ModelLog, undone: str
) -> None:
    skip_unless_writers_overlap()
    begun = threading.Barrier(2, timeout=60)

    def write(name: str) -> None:
        with suppress(KeyError), transaction.atomic():
            model_log.defer([entry("c", name), entry("d", name)], announce_nothing)
            begun.wait()
            if name == undone:
                raise KeyError

    in_threads(partial(write, "earlier"), partial(write, "later"))
    kept = "earlier" if undone == "later" else "later"
    for name in "cd":
        assert everything(model_log, name) == [Stored(1, "", kept)]
    assert model_log.orphans() == []


def test_a_long_transaction_stalls_no_other_publisher(model_log: ModelLog) -> None:
    skip_unless_writers_overlap()
    names = ["new", "old"]
    append_to(model_log, [entry("old", "0")])
    with transaction.atomic():
        model_log.defer([entry(name, "deferred") for name in names], announce_nothing)
        in_threads(partial(append_to, model_log, [entry(name, "direct") for name in names]))
    assert texts(model_log, "old") == ["0", "direct", "deferred"]
    assert texts(model_log, "new") == ["direct", "deferred"]


@pytest.mark.parametrize("count", [1, 3, 30, BATCH])
def test_nor_anybody_who_sequences_meanwhile(model_log: ModelLog, count: int) -> None:
    skip_unless_writers_overlap()
    model_log.make(["c"])
    data = [str(number) for number in range(count)]

    def write() -> None:
        give_up_soon()
        with transaction.atomic():
            model_log.defer([entry("c", each) for each in data], announce_nothing)

    with transaction.atomic():
        model_log.defer([entry("d"), entry("c", "last")], announce_nothing)
        in_threads(write)
        assert elsewhere(partial(texts, model_log, "c")) == data
    assert texts(model_log, "c") == [*data, "last"]


@pytest.mark.parametrize("names", ["b", "abc", "abcefghij"])
def test_a_channel_that_another_has_locked_stalls_no_publisher_to_others(
    model_log: ModelLog, names: str
) -> None:
    skip_unless_writers_overlap()
    for name in "abcdefghijk":
        model_log.make([name])

    def write() -> None:
        give_up_soon()
        append_to(model_log, [entry(name, "1") for name in names])

    with locked("d"):
        in_threads(write)
    assert [texts(model_log, name) for name in names] == [["1"]] * len(names)


def test_new_channels_are_made_in_one_order_whatever_the_callers() -> None:
    # Two that insert the same names in opposite order would wait for each other.
    locking.make_channels("default", ["b", "a", "d"])
    locking.make_channels("default", ["e", "c", "a"])
    rows = Channel.objects.order_by("pk")
    assert list(rows.values_list("name", flat=True)) == ["a", "b", "d", "c", "e"]


def test_many_make_the_same_new_channels_in_any_order(model_log: ModelLog) -> None:
    names = [f"channel-{number}" for number in range(8)]
    orders = [names, names[::-1], names[4:] + names[:4], names[::2] + names[1::2]]
    for done in in_threads(
        *[partial(append_to, model_log, [entry(name) for name in order]) for order in orders]
    ):
        assert len(done) == len(names)
    assert Channel.objects.count() == len(names)
    assert all(len(everything(model_log, name)) == len(orders) for name in names)


def test_no_order_of_channels_makes_publishers_wait_for_each_other(model_log: ModelLog) -> None:
    names = [f"channel-{number}" for number in range(12)]
    # Made one by one, so that primary keys, names and hashes are in different orders.
    for name in random.Random(1).sample(names, len(names)):
        model_log.make([name])
    failed: list[str] = []

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with connection.execute_wrapper(telling(failed)):
            for _ in range(25):
                chosen = chance.sample(names, chance.randrange(2, 8))
                append_to(model_log, [entry(name) for name in chosen])

    in_threads(*[partial(write, seed) for seed in range(8)])
    assert failed == []
    for name in names:
        assert_dense(everything(model_log, name))


def test_mariadb_locks_no_row_but_those_asked_for(model_log: ModelLog) -> None:
    if connection.vendor != "mysql":
        pytest.skip("elsewhere no row is locked that was only looked at")
    model_log.make([f"channel-{number}" for number in range(40)])
    keys: set[str | None] = set()

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "FOR UPDATE" in sql:
            with connection.cursor() as asked:
                asked.cursor.execute(f"EXPLAIN {sql}", params)
                keys.update(row[5] for row in asked.fetchall() if row[2] == "c")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        for count in (1, 2, 5, 17, 40):
            append_to(model_log, [entry(f"channel-{number}") for number in range(count)])
    # None would be all of the table.
    assert keys == {"name_hash"}


@pytest.fixture(scope="module", params=[None, "DEFERRED"])
def deferring(
    request: pytest.FixtureRequest, database: str, django_db_blocker: Any
) -> Iterator[str]:
    """This database as a project has it that did not set `transaction_mode`."""
    if connection.vendor != "sqlite":
        pytest.skip("transaction_mode is SQLite's")
    config = {"ENGINE": connection.settings_dict["ENGINE"]}
    options = {"timeout": 60, "transaction_mode": request.param}
    config |= {"NAME": connection.settings_dict["NAME"], "OPTIONS": options}
    with another_database("deferring", **config) as alias, django_db_blocker.unblock():
        yield alias


@pytest.mark.django_db(transaction=True, databases=["default", "deferring"])
def test_sqlite_in_deferred_mode_refuses_no_writer(deferring: str, settings: Any) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "DATABASE": deferring}
    log = get_log()
    refused: list[str] = []

    def write() -> None:
        with connections[deferring].execute_wrapper(telling(refused)):
            for _ in range(8):
                append_to(log, [entry("c"), entry("d")])

    in_threads(*[write] * 8)
    assert refused == []
    assert_dense(everything(log, "c"))
    assert len(everything(log, "d")) == 64


# -- the isolation level


LEVELS: dict[str, list[dict[str, Any]]] = {
    "postgresql": [
        {"isolation_level": 3},
        {"options": r"-c default_transaction_isolation=repeatable\ read"},
    ],
    "mysql": [
        {"isolation_level": "repeatable read"},
        # Leaves it to the server, whose default is repeatable read.
        {"isolation_level": None},
    ],
}


@pytest.fixture(scope="module", params=[0, 1])
def isolated(
    request: pytest.FixtureRequest, database: str, django_db_blocker: Any
) -> Iterator[str]:
    """This database as a project has it that asks for more than READ COMMITTED."""
    if connection.vendor not in LEVELS:
        pytest.skip("SQLite has one isolation level")
    config = {**connection.settings_dict, "OPTIONS": LEVELS[connection.vendor][request.param]}
    with another_database("isolated", **config) as alias, django_db_blocker.unblock():
        yield alias


@pytest.mark.django_db(
    transaction=True, databases=["default", "isolated"], available_apps=["django_sse"]
)
def test_a_stricter_isolation_level_of_the_project_neither_renumbers_nor_fails(
    isolated: str, settings: Any
) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "DATABASE": isolated}
    log = get_log()
    names = ["c", "d"]
    log.make(names)
    failed: list[str] = []

    def write(number: int) -> None:
        # Who wants both has the first when it waits for the second, which another changes alone.
        chosen = names[number % 2 :]
        with connections[isolated].execute_wrapper(telling(failed)):
            for _ in range(8):
                append_to(log, [entry(name) for name in chosen])
                with transaction.atomic(using=isolated):
                    log.defer([entry(name) for name in reversed(chosen)], announce_nothing)

    in_threads(*[partial(write, number) for number in range(8)])
    assert failed == []
    assert [len(everything(log, name)) for name in names] == [4 * 16, 8 * 16]
    for name in names:
        assert_dense(everything(log, name))
        assert times(name) == sorted(times(name))


# -- the outbox


def test_deferred_events_are_sequenced_before_the_next_append(model_log: ModelLog) -> None:
    orphan(model_log, entry("c", "1"), entry("d", "other"))
    orphan(model_log, entry("c", "2"))
    (done,) = append_to(model_log, [entry("c", "3")])
    assert [each.data for each in done.records] == ["1", "2", "3"]
    assert_dense(everything(model_log, "c"))
    assert texts(model_log, "d") == []
    assert model_log.orphans() == ["d"]


def test_sequence_takes_what_it_is_asked_for_and_tells_it(model_log: ModelLog) -> None:
    orphan(model_log, entry("a", "1"), entry("b", "2"), entry("a", "3"))
    (done,) = model_log.sequence(["a", "c"])
    assert (done.channel, [each.data for each in done.records]) == ("a", ["1", "3"])
    assert model_log.sequence(["a", "c"]) == []
    assert model_log.orphans() == ["b"]
    assert list(model_log.channels()) == ["a"]


@pytest.mark.parametrize("key", ["name", "pk"])
def test_who_does_not_wait_leaves_what_is_locked_to_who_has_it(
    model_log: ModelLog, key: str
) -> None:
    skip_unless_writers_overlap()
    model_log.make(["a", "b"])
    orphan(model_log, *[entry(name, "1") for name in ("a", "b", "new")])

    def sequence(*names: str) -> list[str]:
        give_up_soon()
        return sorted(each.channel for each in model_log.sequence(names))

    with locked("a", key):
        assert elsewhere(partial(sequence, "a")) == []
        assert elsewhere(partial(sequence, "a", "b", "new")) == ["b", "new"]
        assert elsewhere(model_log.orphans) == ["a"]
    assert sequence("a", "b", "new") == ["a"]
    assert [texts(model_log, name) for name in ("a", "b", "new")] == [["1"]] * 3


def test_who_waits_for_a_locked_channel_sequences_what_its_holder_left(
    model_log: ModelLog,
) -> None:
    skip_unless_writers_overlap()
    model_log.make(["c"])
    held = threading.Event()

    def hold() -> None:
        with locked("c"):
            # As an append whose look into the outbox came too early.
            elsewhere(partial(orphan, model_log, entry("c", "1")))
            held.set()
            until_somebody_waits_for_a_lock()

    def sequence() -> None:
        assert held.wait(TIMEOUT)
        (done,) = model_log.sequence(["c"], wait=TIMEOUT)
        assert [each.data for each in done.records] == ["1"]

    in_threads(hold, sequence)


def test_an_outbox_of_many_events_is_moved_whole_and_in_order(model_log: ModelLog) -> None:
    count = 2 * BATCH + 3
    orphan(model_log, *[entry("c", str(number)) for number in range(count)])
    (done,) = append_to(model_log, [entry("c", "last")])
    assert_dense(everything(model_log, "c"))
    assert texts(model_log, "c") == [*map(str, range(count)), "last"]
    # In parts: only the newest is announced; readers that lack the others read them.
    assert everything(model_log, "c")[-4:] == stored(done.records)
    assert OutboxEvent.objects.count() == 0


# What the outbox has, in its order, and what each transaction takes of it: four events at most,
# or ten characters.
PARTS = [
    ([("c", "x")] * 9, [4, 4, 1]),
    ([("c", "x"), ("d", "x")] * 5, [4, 4, 2]),
    ([("c", "x" * 4)] * 5, [2, 2, 1]),
    ([("c", "x" * 99), ("c", "x"), ("d", "x" * 99), ("d", "x")], [1, 1, 1, 1]),
    ([("c", "ü" * 5), ("c", "😀" * 5), ("c", "x")], [2, 1]),
]


@pytest.mark.parametrize(("events", "parts"), PARTS)
def test_an_outbox_is_moved_in_parts_of_bounded_size(
    model_log: ModelLog,
    monkeypatch: pytest.MonkeyPatch,
    events: list[tuple[str, str]],
    parts: list[int],
) -> None:
    monkeypatch.setattr(outbox, "MOVED_EVENTS", 4)
    monkeypatch.setattr(outbox, "MOVED_CHARACTERS", 10)
    model_log.make(["c", "d"])
    orphan(model_log, *[entry(*each) for each in events])
    left: list[int] = []

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("DELETE"):
            left.append(elsewhere(OutboxEvent.objects.count))
        return execute(sql, params, many, context)

    # SQLite shows what is committed as well, while another writes.
    with connection.execute_wrapper(look):
        append_to(model_log, [entry("c", "last"), entry("d", "last")])
    committed = list(dict.fromkeys(left))
    assert [a - b for a, b in zip(committed, [*committed[1:], 0], strict=True)] == parts
    for name in "cd":
        assert texts(model_log, name) == [*[data for c, data in events if c == name], "last"]
        assert_dense(everything(model_log, name))


@pytest.mark.parametrize("direct", [True, False])
def test_no_transaction_that_only_moves_locks_very_many_channels(
    model_log: ModelLog, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    monkeypatch.setattr(outbox, "MOVED_EVENTS", 2)
    monkeypatch.setattr(sequencer, "MOVED_CHANNELS", 3)
    names = [f"channel-{number}" for number in range(10)]
    model_log.make(names)
    orphan(model_log, *[entry(name, data) for data in "ab" for name in names])
    sizes: list[int] = []

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        # What locks them, and asks each whether something waits for it.
        if "EXISTS" in sql:
            sizes.append(len(params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(count):
        if direct:
            done = append_to(model_log, [entry(name, "c") for name in names])
            # Before and after the parts: to find that there is much, and to append.
            assert (sizes.pop(0), sizes.pop()) == (10, 10)
        else:
            done = model_log.sequence(names)
    assert sizes and max(sizes) == 3
    assert sorted(each.channel for each in done) == names
    for name in names:
        assert texts(model_log, name) == ["a", "b", *(["c"] if direct else [])]


def test_parts_that_were_moved_stay_though_the_append_behind_them_is_refused(
    model_log: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOVED_EVENTS", 2)
    orphan(model_log, *[entry("c", str(number)) for number in range(4)], terminal("c"))
    (done,), (outcome,) = model_log.append_each([[entry("c", "late")]])
    assert isinstance(outcome, ChannelFinished)
    assert [each.kind for each in done.records] == [Kind.TERMINAL]
    assert texts(model_log, "c") == [*"0123", "[DONE]"]


def test_what_is_dropped_in_several_parts_is_all_told(
    model_log: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOVED_EVENTS", 2)
    orphan(model_log, terminal("c"))
    for _ in range(3):
        OutboxEvent.objects.create(name="c", name_hash=orm.channel_hash("c"))
    with dropped() as heard:
        model_log.sequence(["c"])
    assert heard == [("c", 1), ("c", 2)]
    assert model_log.orphans() == []


def test_of_those_that_sequence_the_same_events_one_does(model_log: ModelLog) -> None:
    for _ in range(3):
        orphan(model_log, *[entry("c") for _ in range(5)])
        results = in_threads(*[partial(model_log.sequence, ["c"])] * 6)
        assert sorted(sum(len(each.records) for each in done) for done in results) == [0] * 5 + [5]
    assert_dense(everything(model_log, "c"))
    assert len(everything(model_log, "c")) == 15


def test_a_hook_that_has_nothing_to_do_asks_once(model_log: ModelLog) -> None:
    with transaction.atomic():
        for _ in range(4):
            model_log.defer([entry("c")], announce_nothing)
        queries = CaptureQueriesContext(connection)
        queries.__enter__()
    queries.__exit__(None, None, None)
    asked = [each["sql"] for each in queries if "outboxevent" in each["sql"].lower()]
    assert sum("DISTINCT" in sql for sql in asked) == 4
    assert sum("DELETE" in sql for sql in asked) == 1


def test_a_deferred_event_needs_no_row_and_no_lock_of_its_channel(model_log: ModelLog) -> None:
    model_log.make(["old"])
    with transaction.atomic():
        with CaptureQueriesContext(connection) as queries:
            model_log.defer([entry("new"), entry("old")], announce_nothing)
        assert not Channel.objects.filter(name="new").exists()
    written = [each["sql"] for each in queries if not each["sql"].startswith("SELECT")]
    assert len(written) == 1
    assert "INSERT INTO" in written[0]
    assert "outboxevent" in written[0]
    assert not any("FOR UPDATE" in each["sql"] for each in queries)


def test_orphans_of_a_finished_channel_are_dropped_and_reported(model_log: ModelLog) -> None:
    orphan(model_log, entry("c", "1"))
    Channel.objects.create(
        name="c",
        name_hash=orm.channel_hash("c"),
        epoch="e" * 11,
        created=timezone.now(),
        state="done",
        head=7,
    )
    with dropped() as heard:
        assert model_log.sequence(["c"]) == []
    assert heard == [("c", 1)]
    assert model_log.make(["c"])[0].head == 7
    assert model_log.orphans() == []


def test_an_orphaned_end_keeps_what_came_before_it_and_drops_the_rest(model_log: ModelLog) -> None:
    orphan(model_log, entry("c", "1"), terminal("c", "error"))
    # From a transaction that was still open when it ended.
    OutboxEvent.objects.create(name="c", name_hash=orm.channel_hash("c"), data="2")
    with dropped() as heard:
        (done,) = model_log.sequence(["c"])
    assert [each.kind for each in done.records] == [Kind.EVENT, Kind.TERMINAL]
    assert heard == [("c", 1)]
    (head,) = model_log.make(["c"])
    assert (head.head, head.state) == (2, "error")


def test_an_append_behind_an_orphaned_end_is_refused_and_loses_nothing(
    model_log: ModelLog,
) -> None:
    orphan(model_log, entry("c", "1"), terminal("c"))
    with pytest.raises(ChannelFinished):
        append_to(model_log, [entry("c", "2")])
    assert finish_in(model_log, terminal("c", "aborted")) == []
    model_log.sequence(["c"])
    assert texts(model_log, "c") == ["1", "[DONE]"]


def test_an_outbox_that_others_change_is_an_error_and_nothing_is_written(
    model_log: ModelLog,
) -> None:
    orphan(model_log, entry("c", "1"), entry("c", "2"))

    def steal() -> None:
        OutboxEvent.objects.filter(data="1").delete()

    thief = Interference(steal, "DELETE", "outboxevent")
    with (
        connection.execute_wrapper(thief),
        pytest.raises(RuntimeError, match="changed the outbox of the channel 'c'"),
    ):
        append_to(model_log, [entry("c", "3")])
    assert thief.done
    assert texts(model_log, "c") == []
    append_to(model_log, [entry("c", "4")])
    assert texts(model_log, "c") == ["1", "2", "4"]


# -- one transaction

each_statement = pytest.mark.parametrize(
    "words",
    [("UPDATE", "django_sse_channel"), ("INSERT INTO", "storedevent"), ("DELETE", "outboxevent")],
    ids=" ".join,
)


@each_statement
def test_a_failure_in_the_middle_leaves_everything_as_it_was(
    model_log: ModelLog, words: tuple[str, str]
) -> None:
    append_to(model_log, [entry("c", "1"), entry("d", "1")])
    orphan(model_log, entry("c", "2"))

    def fail() -> None:
        raise KeyError("out of memory")

    before = model_log.heads(["c", "d"])
    with connection.execute_wrapper(Interference(fail, *words)), pytest.raises(KeyError):
        append_to(model_log, [entry("d", "3"), entry("c", "3")])
    assert model_log.heads(["c", "d"]) == before
    assert texts(model_log, "c") == texts(model_log, "d") == ["1"]
    assert model_log.orphans() == ["c"]
    append_to(model_log, [entry("d", "4"), entry("c", "4")])
    assert texts(model_log, "c") == ["1", "2", "4"]
    assert texts(model_log, "d") == ["1", "4"]


@each_statement
def test_an_attempt_that_lost_against_another_leaves_no_trace(
    model_log: ModelLog, words: tuple[str, str]
) -> None:
    orphan(model_log, entry("c", "1"))

    def lose() -> None:
        raise OperationalError("database is locked")

    rival = Interference(lose, *words)
    with connection.execute_wrapper(rival):
        (done,) = append_to(model_log, [entry("c", "2")])
    assert rival.done
    assert everything(model_log, "c") == stored(done.records)
    assert texts(model_log, "c") == ["1", "2"]


def test_an_append_may_be_long(model_log: ModelLog) -> None:
    count = 2 * BATCH + 3
    (done,) = append_to(model_log, [entry("c", str(number)) for number in range(count)])
    assert everything(model_log, "c") == stored(done.records)
    assert_dense(list(done.records))


# -- created


def test_created_is_the_time_of_sequencing(model_log: ModelLog) -> None:
    before = timezone.now() - timedelta(seconds=2)
    orphan(model_log, entry("c", "old"))
    append_to(model_log, [entry("c"), entry("c")])
    after = timezone.now() + timedelta(seconds=2)
    assert all(before < created < after for created in times("c"))
    assert len(set(times("c"))) == 1


def test_created_never_decreases_though_the_clock_does(model_log: ModelLog) -> None:
    append_to(model_log, [entry("c"), entry("d")])
    ahead = timezone.now() + timedelta(hours=1)
    StoredEvent.objects.filter(channel__name="c").update(created=ahead)
    append_to(model_log, [entry("c"), entry("d")])
    append_to(model_log, [entry("c")])
    assert times("c") == [times("c")[0]] * 3
    assert times("c")[0] - ahead < timedelta(seconds=1)
    assert all(created < ahead for created in times("d"))


def test_created_never_decreases_among_many_writers(model_log: ModelLog) -> None:
    def write() -> None:
        for _ in range(10):
            append_to(model_log, [entry("c")])

    in_threads(*[write] * 6)
    assert times("c") == sorted(times("c"))
    assert len(times("c")) == 60


# -- names


def test_a_channel_is_known_by_the_hash_of_its_name(log_with_odd_names: EventLog) -> None:
    for row in Channel.objects.all():
        assert row.name_hash == orm.channel_hash(row.name)
        assert len(row.name_hash) == 64


@pytest.fixture
def log_with_odd_names(model_log: ModelLog) -> EventLog:
    names = ["a", "A", "ä", "😀" * 200, "%s", "' OR 1=1 --", "a ", " "]
    append_to(model_log, [entry(name, name) for name in names])
    assert [texts(model_log, name) for name in names] == [[name] for name in names]
    return model_log
