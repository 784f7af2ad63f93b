"""An append that is tried again is made once, or its caller learns why it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection

from django_sse.exceptions import ChannelFinished, LogUnavailable
from django_sse.log import EventLog
from django_sse.log.attempts import Attempt, Rewound
from django_sse.log.base import Appended, Entry, Outcome
from django_sse.log.memory import MemoryLog
from django_sse.log.model import ModelLog
from django_sse.models import Channel
from django_sse.wire.cursor import NO_TAG, Position
from tests.appending import append_to
from tests.rewinding import Copy
from tests.unit.log.support import entry, orphan, stored, terminal, texts

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["django_sse"])


def at(log: EventLog, channel: str = "c") -> Position:
    return log.heads([channel])[channel].position


def begun(log: EventLog, *data: str) -> Position:
    """The position of a channel that has these events."""
    append_to(log, [entry("c", each) for each in data])
    return at(log)


def attempt(position: Position, *data: str, end: bool = False) -> Attempt:
    entries = [entry("c", each) for each in data]
    return Attempt([*entries, terminal("c")] if end else entries, position)


def tried(log: EventLog, *groups: Any) -> tuple[list[Appended], Outcome]:
    """The events that were sequenced, and the outcome of the last of the groups."""
    appended, outcomes = log.append_each(groups)
    return appended, outcomes[-1]


def forget(log: EventLog, channel: str = "c") -> None:
    """Remove the channel's row and its events."""
    if isinstance(log, MemoryLog):
        found = log._channels.pop(channel)
        del log._keys[found.key]
    else:
        Channel.objects.filter(name=channel).delete()


# -- on every log


def test_it_is_appended_at_the_position_that_it_expects(log: EventLog) -> None:
    position = begun(log, "one")
    first = attempt(position, "two", "three")
    _, ids = tried(log, first)
    assert ids == [str(Position(position.epoch, seq, at(log).tag)) for seq in (2, 3)]
    assert first.reached == at(log)
    _, ids = tried(log, attempt(first.reached, "four"))
    assert ids == [str(at(log))]
    assert texts(log, "c") == ["one", "two", "three", "four"]


@pytest.mark.parametrize("end", [False, True])
def test_one_that_was_committed_is_not_appended_again_but_announced_again(
    log: EventLog, end: bool
) -> None:
    again = attempt(begun(log, "one"), "two", end=end)
    first, ids = tried(log, again)
    before = texts(log, "c")
    # Its caller got no answer.
    told, outcome = tried(log, again)
    assert outcome == ids
    # Its first answer was lost, so its events may not have been announced.
    assert [(each.position, stored(each.records)) for each in told] == [
        (each.position, stored(each.records)) for each in first
    ]
    assert [(each.before, each.key) for each in told] == [(each.before, each.key) for each in first]
    assert texts(log, "c") == before


def test_nor_is_it_appended_again_after_events_of_others(log: EventLog) -> None:
    again = attempt(begun(log, "one"), "two")
    _, ids = tried(log, again)
    append_to(log, [entry("c", "other"), terminal("c", "aborted")])
    assert tried(log, again)[1] == ids
    assert ids == [str(again.reached)]
    _, outcome = tried(log, attempt(again.reached, "three"))
    assert isinstance(outcome, ChannelFinished)
    assert "aborted" in str(outcome)
    assert texts(log, "c") == ["one", "two", "other", "[DONE]"]


def test_a_channel_that_has_ended_meanwhile_has_ended(log: EventLog) -> None:
    position = begun(log, "one")
    append_to(log, [terminal("c", "aborted")])
    for late in (attempt(position, "two"), attempt(at(log), "two")):
        _, outcome = tried(log, late)
        assert isinstance(outcome, ChannelFinished)
        assert "aborted" in str(outcome)
    assert texts(log, "c") == ["one", "[DONE]"]


def restore_and(*data: str) -> Callable[[EventLog, Copy], None]:
    def change(log: EventLog, copy: Copy) -> None:
        copy.restore()
        if data:
            append_to(log, [entry("c", each) for each in data])

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(restore_and(), id="rewound"),
        pytest.param(restore_and("other", "other"), id="as long as before"),
        pytest.param(restore_and(*["other"] * 5), id="longer than before"),
    ],
)
@pytest.mark.parametrize("tried_before", [False, True])
def test_in_a_log_that_was_rewound_it_is_refused(
    log: EventLog, change: Callable[[EventLog, Copy], None], tried_before: bool
) -> None:
    begun(log, "one")
    copy = Copy(log, "c")
    position = begun(log, "two", "three")
    late = attempt(position, "four")
    if tried_before:
        tried(log, late)
    change(log, copy)
    before = texts(log, "c")
    appended, outcome = tried(log, late)
    assert appended == []
    assert isinstance(outcome, Rewound)
    assert texts(log, "c") == before


def test_rewound_to_where_it_was_tried_first_it_is_appended(log: EventLog) -> None:
    late = attempt(begun(log, "one"), "two")
    copy = Copy(log, "c")
    first = tried(log, late)[1], late.nonce
    copy.restore()
    assert (tried(log, late)[1], late.nonce) == first
    assert texts(log, "c") == ["one", "two"]


@pytest.mark.parametrize("beside", [False, True])
def test_a_channel_that_is_gone_is_not_made_again(log: EventLog, beside: bool) -> None:
    late = attempt(begun(log, "one"), "two")
    forget(log)
    others = [[entry("new")]] if beside else []
    _, outcome = tried(log, *others, late)
    assert isinstance(outcome, Rewound)
    assert set(log.heads(["c", "new"])) == ({"new"} if beside else set())


def test_a_later_channel_of_that_name_is_another(log: EventLog) -> None:
    late = attempt(Position("e" * 11, 0, NO_TAG), "one")
    begun(log, "other")
    assert isinstance(tried(log, late)[1], Rewound)
    assert texts(log, "c") == ["other"]


def test_what_others_append_in_the_same_transaction_counts(log: EventLog) -> None:
    position = begun(log, "one")
    again = attempt(position, "two")
    behind: list[Entry] = [entry("c", "three")]
    late = attempt(position, "never")
    _, outcomes = log.append_each([again, behind, again, late])
    assert outcomes[0] == outcomes[2]
    assert isinstance(outcomes[3], Rewound)
    # And once more, as if that answer had been lost, too.
    _, outcomes = log.append_each([again, late])
    assert isinstance(outcomes[0], list)
    assert isinstance(outcomes[1], Rewound)
    assert texts(log, "c") == ["one", "two", "three"]


# -- on a database


@pytest.fixture
def rows(database: str, model_log: ModelLog) -> ModelLog:
    return model_log


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("moved", [False, True])
def test_a_commit_without_an_answer_is_settled_by_the_next_try(
    rows: ModelLog, monkeypatch: pytest.MonkeyPatch, committed: bool, moved: bool
) -> None:
    again = attempt(begun(rows, "one"), "two")
    if moved:
        # It comes first, so that the attempt is refused, and that answer is lost.
        orphan(rows, entry("c", "deferred"))
    commit = connection._commit  # type: ignore[attr-defined]

    def lose_the_answer() -> None:
        if committed:
            commit()
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "_commit", lose_the_answer)
        assert isinstance(tried(rows, again)[1], LogUnavailable)
    outcome = tried(rows, again)[1]
    assert isinstance(outcome, Rewound if moved else list)
    assert texts(rows, "c") == ["one", "deferred" if moved else "two"]


def test_it_costs_no_statement_where_it_finds_what_it_expects(rows: ModelLog) -> None:
    position = begun(rows, "one")

    def statements(group: Any) -> list[str]:
        said: list[str] = []

        def note(execute: Any, sql: str, *args: Any) -> Any:
            said.append(sql)
            return execute(sql, *args)

        with connection.execute_wrapper(note):
            rows.append_each([group])
        return said

    assert statements(attempt(position, "two")) == statements([entry("c", "three")])
