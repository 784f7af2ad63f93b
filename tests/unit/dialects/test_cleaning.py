from __future__ import annotations

from enum import StrEnum
from typing import Any

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
from django_sse.dialects.cleaning import clean
from django_sse.wire import Event


class Word(StrEnum):
    GOOD = "good"
    BAD = "b\0d"


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("a\0b", "a\ufffdb"),
        ("\ud83d", "\ufffd"),
        # Two halves that belong together.
        ("\ud83d\ude00", "😀"),
        (Word.BAD, "b\ufffdd"),
        ({"\0": ["\0", ("\ud800", 1)]}, {"\ufffd": ["\ufffd", ["\ufffd", 1]]}),
        (Event("\0", event="tick"), Event("\ufffd", event="tick")),
        (Event({"a": "\ud800"}), Event({"a": "\ufffd"})),
        (Start(model="\0"), Start(model="\ufffd")),
        (Reasoning("h\0m"), Reasoning("h\ufffdm")),
        (ToolCall("c", "f\0", {"a": "\0"}), ToolCall("c", "f\ufffd", {"a": "\ufffd"})),
        (ToolCallDelta("c", "\ud800"), ToolCallDelta("c", "\ufffd")),
        (ToolResult("c", ["\0"]), ToolResult("c", ["\ufffd"])),
    ],
)
def test_each_character_that_cannot_be_carried_is_replaced(value: Any, cleaned: Any) -> None:
    assert clean(value) == cleaned


@pytest.mark.parametrize(
    "value",
    [
        "text é 😀 \u2028 \x01",
        Word.GOOD,
        {"a": ["b", ("c", 1.5, None)]},
        [],
        {},
        Event({"a": "b"}, event="tick", id="1", retry=5),
        Start(),
        Reasoning("hm"),
        ToolCall("c", "f", {"a": "b"}),
        Usage(1, 2),
        Finish("stop"),
        b"\0",
        object(),
    ],
)
def test_a_value_without_such_a_character_is_the_same_object(value: Any) -> None:
    assert clean(value) is value
