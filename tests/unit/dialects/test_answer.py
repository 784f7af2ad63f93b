from __future__ import annotations

from typing import Any, ClassVar

import pytest

from django_sse.dialects import (
    Finish,
    Reasoning,
    Start,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from django_sse.dialects.answer import Call, TextKind, VendorEncoder, new_id
from django_sse.dialects.values import FinishReason
from django_sse.exceptions import InexpressibleValue
from django_sse.wire import Event


class Notes(VendorEncoder):
    """Notes down what it is asked for, one event each."""

    dialect = "notes"

    def _open(self, start: Start) -> list[Event]:
        return [Event(f"open {start.id}")]

    def _write(self, kind: TextKind, text: str) -> list[Event]:
        return [Event(f"{kind} {text}")]

    def _delta(self, call: Call, arguments: str, *, first: bool) -> list[Event]:
        return [Event(f"{'first' if first else 'next'} {call.index} {call.name} {arguments}")]

    def _close_call(self, call: Call) -> list[Event]:
        return [Event(f"close {call.id} {''.join(call.pieces)}")]

    def _result(self, call: Call, content: Any) -> list[Event]:
        return [Event(f"result {call.id} {content}")]

    def _finish(self, reason: FinishReason) -> list[Event]:
        return [Event(f"finish {reason}")]

    def _end(self, reason: FinishReason) -> list[Event]:
        return [Event(f"end {reason} {self._usage}")]

    def failed(self, message: str, code: str = "error") -> list[Event]:
        return [Event(code)]

    def aborted(self) -> list[Event]:
        return [Event("aborted")]


class Mute(Notes):
    inexpressible: ClassVar[dict[type, str]] = {Reasoning: "it thinks aloud"}


def notes(*values: Any) -> list[object]:
    encoder = Notes()
    events = [event for value in values for event in encoder.encode(value)]
    return [event.data for event in [*events, *encoder.done()]]


def test_the_answer_is_opened_once_and_before_everything_else() -> None:
    assert notes("a", Reasoning("b"))[:3] == ["open None", "text a", "reasoning b"]
    assert notes(Start("x"), "a")[:2] == ["open x", "text a"]
    assert notes()[0] == "open None"
    assert notes(Usage(1, 1))[0] == "open None"


def test_pieces_of_calls_may_come_in_turns_and_are_closed_in_the_order_of_the_calls() -> None:
    said = [
        ToolCallDelta("a", "1", "f"),
        ToolCallDelta("b", "2", "g"),
        "t",
        ToolCallDelta("a", "3"),
        ToolCallDelta("b", ""),
    ]
    assert notes(*said)[1:-1] == [
        "first 0 f 1",
        "first 1 g 2",
        "text t",
        "next 0 f 3",
        "next 1 g ",
        "close a 13",
        "close b 2",
        "finish tool_calls",
    ]


def test_a_whole_call_is_closed_at_once_and_its_arguments_are_compact() -> None:
    assert notes(ToolCall("a", "f", ' {"q": 1}'), Finish("stop"))[1:-1] == [
        'first 0 f {"q":1}',
        'close a {"q":1}',
        "finish stop",
    ]


def test_a_result_closes_its_call() -> None:
    said = [ToolCallDelta("a", "1", "f"), ToolResult("a", 7)]
    assert notes(*said)[1:-1] == ["first 0 f 1", "close a 1", "result a 7", "finish stop"]


def test_usage_after_the_finish_counts_and_sends_nothing() -> None:
    assert notes(Finish("length"), Usage(1, 2), Usage(3, 4)) == [
        "open None",
        "finish length",
        "end length Usage(input_tokens=4, output_tokens=6)",
    ]


def test_the_error_says_what_could_be_yielded_instead() -> None:
    with pytest.raises(InexpressibleValue) as caught:
        Mute().encode(Reasoning("hm"))
    assert str(caught.value) == (
        "the dialect 'notes' cannot express this Reasoning: it thinks aloud. Yield str, Start, "
        "ToolCall, ToolCallDelta, ToolResult, Usage or Finish, each where it is allowed"
    )
    assert isinstance(caught.value, ValueError)


def test_ids_are_random() -> None:
    first, second = new_id("msg_"), new_id("msg_")
    assert first != second
    assert first.startswith("msg_")
    assert len(first) == 28
