"""What goes into a run's channel, without a generator and a log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from django_sse.dialects import AnswerEncoder, Dialect
from django_sse.dialects.plain import Plain
from django_sse.exceptions import (
    DataNotSerializable,
    EventTooLarge,
    InexpressibleValue,
    StreamError,
)
from django_sse.log.base import Entry
from django_sse.models import Run, State
from django_sse.runs import ends
from django_sse.runs.entries import Entries
from django_sse.streams.ends import ABORTED, COMPLETE, failed
from django_sse.wire import Event

TOO_LARGE = "x" * 300_000


class Counting(Dialect):
    """A project's own: each event has the number that the client expects next."""

    name = "counting"

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return CountingEncoder(sent)

    def decoder(self) -> Any:
        raise NotImplementedError


class CountingEncoder(AnswerEncoder):
    def __init__(self, sent: int) -> None:
        self.number = sent

    def encode(self, value: Any) -> list[Event]:
        if value is None:
            raise InexpressibleValue("counting has no form for nothing")
        self.number += 1
        return [Event({"number": self.number - 1, "text": value})]

    def done(self) -> list[Event]:
        return self.encode("done")

    def failed(self, message: str, code: str = "error") -> list[Event]:
        return self.encode(message)

    def aborted(self) -> list[Event]:
        raise RuntimeError("it knows of no abort")


class Speechless(Counting):
    name = "speechless"

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return SpeechlessEncoder(sent)


class SpeechlessEncoder(CountingEncoder):
    def failed(self, message: str, code: str = "error") -> list[Event]:
        return self.encode(TOO_LARGE)


def entries(dialect: Dialect) -> Entries:
    return Entries(Run(dialect=ends.name_of(dialect)), dialect.encoder())


def numbers(found: list[Entry]) -> list[int]:
    return [json.loads(entry.data)["number"] for entry in found]


NO = failed(StreamError("no"))


def test_what_is_said_and_its_end_are_of_one_encoder() -> None:
    said = entries(Counting())
    found = [*said.of("a"), *said.of("b"), *said.last(COMPLETE)]
    assert numbers(found) == [0, 1, 2]
    assert [entry.state for entry in found] == ["", "", "done"]


@pytest.mark.parametrize(
    ("value", "error"), [(TOO_LARGE, EventTooLarge), ({1, 2}, DataNotSerializable)]
)
def test_what_the_log_refuses_leaves_an_encoder_that_is_ahead(
    value: Any, error: type[Exception]
) -> None:
    said = entries(Counting())
    found = said.of("a")
    with pytest.raises(error):
        said.of(value)
    assert said.broken
    found += said.last(NO)
    assert numbers(found) == [0, 1]


def test_what_the_encoder_refuses_leaves_it_as_it_was() -> None:
    said = entries(Counting())
    with pytest.raises(InexpressibleValue):
        said.of(None)
    assert not said.broken
    assert numbers(said.of("a")) == [0]


@pytest.mark.parametrize("value", [TOO_LARGE, Event(TOO_LARGE), Event("x", id="1")])
def test_a_plain_event_stands_for_itself(value: Any) -> None:
    said = entries(Plain())
    with pytest.raises((EventTooLarge, ValueError)):
        said.of(value)
    assert not said.broken
    assert [entry.data for entry in said.last(COMPLETE)] == ["[DONE]"]


def test_an_abort_that_the_dialect_cannot_say_is_an_abort_in_plain_words() -> None:
    said = entries(Counting())
    found = [*said.of("a"), *said.last(ABORTED)]
    assert [(entry.type, entry.state) for entry in found] == [
        ("", State.OPEN),
        ("error", "aborted"),
    ]
    assert json.loads(found[-1].data)["code"] == "aborted"


def test_where_the_dialect_fails_at_that_too_the_run_ends_all_the_same() -> None:
    said = entries(Speechless())
    found = said.last(NO)
    assert [(entry.type, entry.state) for entry in found] == [("error", "error")]
    assert json.loads(found[-1].data)["error"] == NO.message


class Endless(Counting):
    name = "endless"

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return EndlessEncoder(sent)


class EndlessEncoder(CountingEncoder):
    def done(self) -> list[Event]:
        return self.encode(TOO_LARGE)


def test_a_whole_answer_whose_end_the_log_refuses_has_failed_in_the_dialect() -> None:
    said = entries(Endless())
    found = [*said.of("a"), *said.last(COMPLETE)]
    assert numbers(found) == [0, 1]
    assert "could not be sent" in found[-1].data
    assert found[-1].state == "error"


def test_a_nul_that_a_projects_own_dialect_says_is_replaced_and_the_encoder_is_asked_once() -> None:
    said = entries(Raw())
    found = [*said.of("a\0"), *said.of("b"), *said.last(COMPLETE)]
    assert [entry.data for entry in found] == ["0 a\ufffd", "1 b", "2 \ufffd"]
    assert not said.broken


class Raw(Counting):
    """Its events are text, and not JSON."""

    name = "raw"

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return RawEncoder(sent)


class RawEncoder(CountingEncoder):
    def encode(self, value: Any) -> list[Event]:
        self.number += 1
        return [Event(f"{self.number - 1} {value}")]

    def done(self) -> list[Event]:
        return self.encode("\0")
