"""`append_each`: what one of several callers meets, the others do not."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection

from django_sse.exceptions import ChannelFinished, LogUnavailable
from django_sse.log import EventLog, transactions
from django_sse.log.attempts import Attempt
from django_sse.log.base import Entry, Kind, Outcome
from django_sse.log.model import ModelLog
from django_sse.models import Channel
from django_sse.wire.cursor import MAX_SEQ, Position
from tests.appending import append_to
from tests.positions import untagged
from tests.unit.log.support import (
    assert_dense,
    dropped,
    entry,
    everything,
    in_threads,
    orphan,
    terminal,
    texts,
)

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["django_sse"])


def epoch(log: EventLog, channel: str) -> str:
    return log.make([channel])[0].epoch


def ids_of(outcome: Outcome) -> list[str]:
    """The ids without their tags."""
    assert isinstance(outcome, list)
    return [untagged(id) for id in outcome]


# No database takes a negative number for it.
GUILTY = Entry("c", "", "guilty", -1)


# -- on every log


def test_each_caller_gets_the_ids_of_its_own_entries_in_its_order(log: EventLog) -> None:
    append_to(log, [entry("b", "before")])
    appended, outcomes = log.append_each(
        [
            [entry("a", "1"), entry("b", "1"), entry("a", "2")],
            [entry("a", "3")],
            [entry("c", "1"), entry("a", "4"), entry("b", "2")],
        ]
    )
    a, b, c = (epoch(log, name) for name in "abc")
    assert list(map(ids_of, outcomes)) == [
        [f"{a}-1", f"{b}-2", f"{a}-2"],
        [f"{a}-3"],
        [f"{c}-1", f"{a}-4", f"{b}-3"],
    ]
    assert texts(log, "a") == ["1", "2", "3", "4"]
    assert texts(log, "b") == ["before", "1", "2"]
    told = [(each.channel, record.data) for each in appended for record in each.records]
    assert sorted(told) == [
        *[("a", each) for each in "1234"],
        *[("b", each) for each in "12"],
        ("c", "1"),
    ]


def test_a_finished_channel_is_an_error_of_its_own_callers_only(log: EventLog) -> None:
    append_to(log, [terminal("ended", "error")])
    _, outcomes = log.append_each(
        [
            [entry("c", "1")],
            [entry("c", "never"), entry("ended", "never"), entry("c", "never")],
            [entry("c", "2")],
            [entry("ended", "never")],
        ]
    )
    c = epoch(log, "c")
    assert ids_of(outcomes[0]) == [f"{c}-1"]
    assert ids_of(outcomes[2]) == [f"{c}-2"]
    for outcome in (outcomes[1], outcomes[3]):
        assert isinstance(outcome, ChannelFinished)
        assert "'ended'" in str(outcome) and "error" in str(outcome)
    assert texts(log, "c") == ["1", "2"]
    assert texts(log, "ended") == ["[DONE]"]


def test_an_end_among_the_callers_is_the_end_for_those_after_it(log: EventLog) -> None:
    appended, outcomes = log.append_each(
        [
            [entry("c", "1")],
            [terminal("c", "aborted")],
            [entry("c", "late")],
            [terminal("c", "done")],
            [entry("d", "1")],
        ]
    )
    assert [isinstance(each, ChannelFinished) for each in outcomes] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert "aborted" in str(outcomes[2])
    assert texts(log, "c") == ["1", "[DONE]"]
    assert log.make(["c"])[0].state == "aborted"
    assert sum(len(each.records) for each in appended) == 3


def test_when_all_are_refused_nothing_is_told(log: EventLog) -> None:
    append_to(log, [terminal("c")])
    appended, outcomes = log.append_each([[entry("c")], [terminal("c")]])
    assert appended == []
    assert all(isinstance(each, ChannelFinished) for each in outcomes)
    assert texts(log, "c") == ["[DONE]"]


# -- on a database


@pytest.fixture
def rows(database: str, model_log: ModelLog) -> ModelLog:
    return model_log


def test_behind_the_last_number_nothing_is_published(rows: ModelLog) -> None:
    rows.make(["c", "d"])
    Channel.objects.filter(name="c").update(head=MAX_SEQ - 1, floor=MAX_SEQ - 1)
    both, one, more, other = rows.append_each(
        [[entry("d"), *[entry("c")] * 2], [entry("c", "last")], [entry("c")], [entry("d")]]
    )[1]
    assert [isinstance(each, ChannelFinished) for each in (both, one, more, other)] == [
        *(True, False, True, False)
    ]
    assert "last number" in str(more)
    (head,) = rows.heads(["c"]).values()
    run = Attempt([entry("c")], Position(head.epoch, head.head, head.head_tag))
    assert isinstance(rows.append_each([run])[1][0], ChannelFinished)
    orphan(rows, entry("c", "never"))
    with dropped() as heard:
        assert rows.sequence(["c"]) == []
    assert heard == [("c", 1)]
    assert (texts(rows, "c"), texts(rows, "d")) == (["last"], ["x"])


def test_what_waited_in_the_outbox_comes_first(rows: ModelLog) -> None:
    orphan(rows, entry("c", "deferred"), entry("d", "deferred"), terminal("d"))
    appended, outcomes = rows.append_each([[entry("c", "1")], [entry("d", "refused")]])
    assert ids_of(outcomes[0]) == [f"{epoch(rows, 'c')}-2"]
    assert isinstance(outcomes[1], ChannelFinished)
    # Whoever is told of the end must find it, and so must the streams of this process.
    assert {each.channel: [r.data for r in each.records] for each in appended} == {
        "c": ["deferred", "1"],
        "d": ["deferred", "[DONE]"],
    }
    assert everything(rows, "d")[-1].kind == Kind.TERMINAL


def test_an_entry_that_the_database_refuses_is_an_error_of_its_own_caller_only(
    rows: ModelLog,
) -> None:
    groups = [[entry("c", "1")], [entry("d", "never"), GUILTY], [entry("c", "2")]]
    appended, outcomes = rows.append_each(groups)
    c = epoch(rows, "c")
    assert ids_of(outcomes[0]) == [f"{c}-1"]
    assert isinstance(outcomes[1], DatabaseError | LogUnavailable)
    assert ids_of(outcomes[2]) == [f"{c}-2"]
    assert texts(rows, "c") == ["1", "2"]
    assert texts(rows, "d") == []
    assert [r.data for each in appended for r in each.records] == ["1", "2"]


def test_a_log_that_is_away_is_told_to_all_and_not_asked_for_each(rows: ModelLog) -> None:
    asked = []

    def gone(execute: Any, sql: str, *args: Any) -> Any:
        asked.append(sql)
        raise OperationalError("no route to host")

    with connection.execute_wrapper(gone):
        appended, outcomes = rows.append_each([[entry("c", str(n))] for n in range(50)])
    assert appended == []
    assert all(isinstance(each, LogUnavailable) for each in outcomes)
    assert "no route" in str(outcomes[49])
    # Each caller raises its own: tracebacks are added to an error.
    assert len({id(each) for each in outcomes}) == 50
    # For the batch, and to learn whether the database is there: each may be a time-out.
    assert len(asked) == 2
    assert texts(rows, "c") == []


def test_a_log_that_goes_away_while_the_guilty_is_looked_for(rows: ModelLog) -> None:
    inserts = asked = 0

    def goes(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal inserts, asked
        inserts += "INSERT" in sql and "storedevent" in sql
        if inserts > 2:
            asked += 1
            raise OperationalError("no route to host")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(goes):
        _, outcomes = rows.append_each([[entry("c", "1")], [GUILTY], *[[entry("c", "2")]] * 20])
    assert ids_of(outcomes[0]) == [f"{epoch(rows, 'c')}-1"]
    assert all(isinstance(each, LogUnavailable) for each in outcomes[1:])
    assert asked < 10
    assert texts(rows, "c") == ["1"]


def test_a_commit_of_which_nobody_knows_whether_it_was_carried_out_is_not_tried_again(
    rows: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.make(["c"])
    commit = connection._commit  # type: ignore[attr-defined]

    def commit_and_lose_the_answer() -> None:
        commit()
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "_commit", commit_and_lose_the_answer)
        appended, outcomes = rows.append_each([[entry("c", "1")], [entry("c", "2")]])
    assert appended == []
    assert all(isinstance(each, LogUnavailable) for each in outcomes)
    assert texts(rows, "c") == ["1", "2"]


def test_a_lock_that_is_not_given_is_waited_for_once_and_not_once_a_caller(
    rows: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "TRIES", 2)
    tried = 0

    def locked(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal tried
        if "INSERT" in sql and "storedevent" in sql:
            tried += 1
            raise OperationalError("database is locked")
        return execute(sql, params, many, context)

    rows.make(["c"])
    with connection.execute_wrapper(locked):
        _, outcomes = rows.append_each([[entry("c")], [entry("c")], [entry("c")]])
    assert all(isinstance(each, LogUnavailable) for each in outcomes)
    assert tried == 2


def test_batches_of_several_writers_over_the_same_channels_do_not_wait_for_each_other_for_ever(
    rows: ModelLog,
) -> None:
    names = [f"channel-{number}" for number in range(30)]

    def write(order: int) -> list[Any]:
        found = []
        for turn in range(5):
            groups = [[entry(name, f"{order}:{turn}")] for name in names[::order]]
            found += rows.append_each(groups)[1]
        return found

    for outcomes in in_threads(*[partial(write, order) for order in (1, -1, 1, -1)]):
        assert all(isinstance(each, list) for each in outcomes)
    for name in names:
        records = everything(rows, name)
        assert_dense(records)
        assert len(records) == 20
