from __future__ import annotations

from typing import Any

import pytest

from django_sse.dialects.plain import DONE, PlainEncoder
from django_sse.wire import Event

ENCODER = PlainEncoder(DONE)


def test_an_event_is_itself() -> None:
    event = Event({"a": 1}, event="tick")
    assert ENCODER.encode(event) == [event]


@pytest.mark.parametrize("value", ["text", "", {"a": 1}, [1], None, 7])
def test_anything_else_is_the_data_of_one(value: Any) -> None:
    assert ENCODER.encode(value) == [Event(value)]


def test_a_whole_answer_ends_with_the_terminal_event_it_was_given() -> None:
    assert ENCODER.done() == [DONE]
    bye = Event("bye", event="finished")
    assert PlainEncoder(bye).done() == [bye]


def test_a_broken_one_ends_with_an_error_and_its_code() -> None:
    assert ENCODER.failed("out of paper") == [
        Event({"error": "out of paper", "code": "error"}, event="error")
    ]
    assert ENCODER.failed("gone", "interrupted") == [
        Event({"error": "gone", "code": "interrupted"}, event="error")
    ]


def test_one_that_was_stopped_says_so() -> None:
    (event,) = ENCODER.aborted()
    assert event.event == "error"
    assert event.data == {"error": "The stream was aborted.", "code": "aborted"}


def test_it_has_no_state() -> None:
    ENCODER.encode("one")
    ENCODER.aborted()
    assert ENCODER.encode("two") == [Event("two")]
    assert ENCODER.done() == [DONE]
