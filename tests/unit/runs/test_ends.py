"""The ends that come from elsewhere, on each database that is there."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection

from django_sse.dialects import DIALECTS, AnswerDecoder, AnswerEncoder, Dialect, get_dialect
from django_sse.dialects.plain import PLAIN, Plain, PlainEncoder
from django_sse.exceptions import ChannelLocked, LogUnavailable
from django_sse.log import get_log
from django_sse.log.base import Head, State
from django_sse.models import Channel, Run
from django_sse.runs import ends, store
from django_sse.wire import Event
from tests.appending import append_to
from tests.unit.dialects.support import NAMES
from tests.unit.log.support import entry, everything, in_threads
from tests.unit.runs.support import (
    ABORTED,
    INTERRUPTED,
    die,
    end,
    failures,
    new_run,
    say,
    terminals,
)

pytestmark = [
    pytest.mark.usefixtures("database", "configure"),
    pytest.mark.django_db(transaction=True),
]


class Shouting(Dialect):
    """A project's own."""

    name = "shouting"

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return PlainEncoder(Event(f"AFTER {sent}"))

    def decoder(self) -> AnswerDecoder:
        raise NotImplementedError


def create(dialect: str = "plain", owner: str = "user:1") -> Run:
    return new_run(owner, dialect=dialect)


def said(run: Run) -> list[tuple[str, Any]]:
    records = everything(get_log(), run.channel)
    return [(record.type, record.data) for record in records]


def how(run: Run) -> tuple[str, bool]:
    """How its channel ended, and whether its row says that it did."""
    run.refresh_from_db()
    return store.state(run)[0], run.ended is not None


# -- dialects across processes


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_of_ours_is_known_by_its_name(name: str) -> None:
    dialect = get_dialect(name)
    assert ends.name_of(dialect) == name
    assert type(ends.dialect_of(Run(dialect=name))) is type(dialect)


def test_a_dialect_of_the_projects_is_known_by_its_path() -> None:
    path = ends.name_of(Shouting())
    assert path == f"{__name__}.Shouting"
    assert isinstance(ends.dialect_of(Run(dialect=path)), Shouting)


def test_a_stream_that_names_no_dialect_is_plain() -> None:
    assert ends.name_of(Plain(Event("bye"))) == "plain"
    assert isinstance(ends.dialect_of(Run(dialect="plain")), Plain)


# -- stop


def test_a_stop_ends_the_run_as_aborted() -> None:
    run = create()
    say(run, "one")
    assert ends.stop(run) is True
    (_, (kind, data)) = said(run)
    assert (kind, json.loads(data)) == ("error", ABORTED)
    assert how(run) == ("aborted", True)


def test_a_second_stop_changes_nothing() -> None:
    run = create()
    assert ends.stop(run) is True
    before = said(run)
    assert ends.stop(run) is False
    assert said(run) == before


def test_a_stop_after_the_end_changes_nothing_but_notes_the_end() -> None:
    run = create()
    assert end(run.channel, State.DONE, PLAIN.done())
    assert ends.stop(run) is False
    assert said(run) == [("close", "[DONE]")]
    assert how(run) == ("done", True)


def test_of_many_stops_at_once_one_did_it() -> None:
    run = create()
    assert sorted(in_threads(*[partial(ends.stop, run)] * 8)) == [False] * 7 + [True]
    assert len(said(run)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_stop_is_said_in_the_runs_dialect(name: str) -> None:
    dialect = get_dialect(name)
    run = create(name)
    encoder = dialect.encoder()
    for event in encoder.encode("Hel"):
        say(run, event)
    assert ends.stop(run)
    records = everything(get_log(), run.channel)
    assert terminals(records) == [records[-1]]
    expected = dialect.encoder(sent=len(encoder_events(name))).aborted()
    assert [(r.type, r.data) for r in records[-len(expected) :]] == [
        (event.event or "", as_text(event)) for event in expected
    ]


def encoder_events(name: str) -> list[Event]:
    return list(get_dialect(name).encoder().encode("Hel"))


def as_text(event: Event) -> str:
    return event.data if isinstance(event.data, str) else json.dumps(event.data)


def test_a_stop_whose_answer_was_lost_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run = create()
    commit = connection._commit  # type: ignore[attr-defined]

    def lose_the_answer() -> None:
        commit()
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "_commit", lose_the_answer)
        with pytest.raises(LogUnavailable):
            ends.stop(run)
    assert how(run) == ("aborted", False)
    assert ends.stop(run) is False
    assert how(run) == ("aborted", True)
    assert len(said(run)) == 1


@pytest.mark.parametrize("words", [1, 2, 3])
def test_an_end_counts_what_the_run_says_meanwhile(
    words: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create(f"{__name__}.Counting")
    heads, left = store.heads, words

    def heads_and_a_word(runs: Any) -> dict[Any, Head]:
        nonlocal left
        found = heads(runs)
        if left:
            left -= 1
            say(run, "a word")
        return found

    monkeypatch.setattr(store, "heads", heads_and_a_word)
    assert ends.stop(run) is True
    # A run that never pauses is ended all the same.
    assert said(run)[-1][1] == f"aborted after {min(words, 2)}"
    assert len(terminals(everything(get_log(), run.channel))) == 1
    assert how(run) == ("aborted", True)


@pytest.mark.parametrize("again", [False, True], ids=["removed", "removed and made again"])
@pytest.mark.parametrize("tries", [0, 1, 2])
def test_a_channel_that_is_removed_while_its_run_is_ended_is_not_made_again(
    monkeypatch: pytest.MonkeyPatch, tries: int, again: bool
) -> None:
    run = create()
    heads, left = store.heads, tries

    def heads_and_a_word(runs: Any) -> dict[Any, Head]:
        nonlocal left
        found = heads(runs)
        if left > 0:
            say(run, "a word")
        elif found:
            Channel.objects.filter(name=run.channel).delete()
            if again:
                append_to(get_log(), [entry(run.channel, "of somebody else")])
        left -= 1
        return found

    monkeypatch.setattr(store, "heads", heads_and_a_word)
    assert ends.stop(run) is False
    assert [data for _, data in said(run)] == (["of somebody else"] if again else [])
    assert how(run) == ("error", True)


# -- a process that died


def test_a_run_whose_process_died_ends_as_interrupted() -> None:
    run = create()
    say(run, "one")
    die(run)
    (_, (kind, data)) = said(run)
    assert (kind, json.loads(data)) == ("error", INTERRUPTED)
    assert how(run) == ("error", True)


def test_whoever_finds_it_it_ends_once() -> None:
    run = create()
    say(run, "one")

    def interrupt() -> None:
        # Another of these threads has the channel.
        with suppress(ChannelLocked):
            ends.interrupt([run])

    in_threads(*[interrupt] * 8, *[partial(die, run)] * 4)
    die(run)
    records = everything(get_log(), run.channel)
    assert [record.seq for record in records] == [1, 2]
    assert terminals(records) == [records[1]]
    assert how(run) == ("error", True)


def test_a_run_that_had_ended_and_could_not_note_it_keeps_its_end() -> None:
    run = create()
    assert end(run.channel, State.DONE, PLAIN.done())
    die(run)
    assert said(run) == [("close", "[DONE]")]
    assert how(run) == ("done", True)


def test_a_run_whose_channel_is_gone_is_over_without_one() -> None:
    run, other = create(), create(owner="user:2")
    Channel.objects.filter(name=run.channel).delete()
    die(run, other)
    assert how(run) == how(other) == ("error", True)
    assert get_log().heads([run.channel]) == {}
    # Another channel of the same name is not the run's.
    append_to(get_log(), [entry(run.channel, "of somebody else")])
    assert ends.stop(run) is False
    assert how(run) == ("error", True)
    assert said(run) == [("", "of somebody else")]


@pytest.mark.parametrize("name", NAMES)
def test_the_death_is_told_in_the_runs_dialect(name: str) -> None:
    run = create(name)
    for event in encoder_events(name):
        say(run, event)
    die(run)
    records = everything(get_log(), run.channel)
    assert failures(name, [Event(each.data, each.type or None) for each in records]) == 1
    assert how(run) == ("error", True)


def test_a_dialect_of_the_projects_is_told_how_many_events_there_were() -> None:
    run = create(f"{__name__}.Counting")
    say(run, "one")
    say(run, "two")
    assert ends.stop(run)
    assert said(run)[-1] == ("", "aborted after 2")


class _CountingEncoder(PlainEncoder):
    def aborted(self) -> list[Event]:
        (terminal,) = self._terminal
        return [Event(f"aborted {terminal.data}")]


class Counting(Shouting):
    """Tells what it was told."""

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return _CountingEncoder(Event(f"after {sent}"))


def test_a_dialect_that_is_gone_keeps_no_run_from_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = create(f"{__name__}.Renamed", "user:1")
    other = create(owner="user:2")
    die(lost, other)
    assert how(lost) == how(other) == ("error", True)
    assert json.loads(said(lost)[0][1]) == INTERRUPTED
    assert "Renamed" in caplog.text


def test_no_more_than_the_runs_of_that_lease_are_ended() -> None:
    mine, other = create(), create(owner="user:2")
    die(other)
    assert how(mine) == ("", False)
    assert how(other) == ("error", True)


class Mute(Shouting):
    """One whose ends fail."""

    name = "mute"

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        class Failing(PlainEncoder):
            def failed(self, message: str, code: str = "error") -> list[Event]:
                raise RuntimeError("no words")

            aborted = failed  # type: ignore[assignment]

        return Failing(Event("never"))


def test_an_end_that_a_dialect_fails_to_say_is_said_plainly_and_keeps_no_other_from_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mute = create(ends.name_of(Mute()), "user:1")
    other = create(owner="user:2")
    die(mute, other)
    assert how(mute) == how(other) == ("error", True)
    assert json.loads(said(mute)[0][1]) == INTERRUPTED
    stopped = create(ends.name_of(Mute()), "user:3")
    assert ends.stop(stopped)
    assert json.loads(said(stopped)[0][1]) == ABORTED
    assert "no words" in caplog.text


class Fussy(Shouting):
    """One that no other process can make."""

    def __init__(self, secret: str) -> None:
        self.secret = secret


def test_a_dialect_that_another_process_could_not_make_is_refused() -> None:
    class Local(Shouting):
        """At no path."""

    for dialect in (Fussy("x"), Local()):
        with pytest.raises(ImproperlyConfigured, match="cannot be made by its path"):
            ends.check(dialect)
    for fine in (Plain(), Shouting(), get_dialect("openai-chat")):
        ends.check(fine)


def test_a_projects_own_under_a_vendors_name_is_its_own() -> None:
    class Tuned(type(get_dialect("openai-chat"))):  # type: ignore[misc]
        """With the name of what it extends."""

    assert ends.name_of(Tuned()).endswith("Tuned")
    assert ends.name_of(get_dialect("openai-chat")) == "openai-chat"
