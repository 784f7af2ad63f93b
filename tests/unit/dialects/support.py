"""Answers, as lists of values, and what remains of one that went through a dialect."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from django_sse.dialects import AnswerEncoder, Usage, get_dialect
from django_sse.dialects.values import Finish, Reasoning, Start, ToolCall, ToolCallDelta, ToolResult
from django_sse.wire import Event, dumps

NAMES = ("openai-chat", "openai-responses", "anthropic", "ai-sdk", "ag-ui")
# Those whose answers can hold what a tool gave back.
WITH_RESULTS = ("openai-responses", "ai-sdk", "ag-ui")
# What each has a place for in a Start.
STARTS = {
    "openai-chat": ("id", "model"),
    "openai-responses": ("id", "model"),
    "anthropic": ("id", "model"),
    "ai-sdk": ("id",),
    "ag-ui": ("id", "thread"),
}

ANSWER: list[Any] = [
    Start("a1", "m", "t1"),
    Reasoning("hm"),
    "Hel",
    "lo é\n\u2028😀",
    ToolCallDelta("c1", '{"q"', "find"),
    ToolCallDelta("c1", ":1}"),
    ToolCall("c2", "get", {"x": "y"}),
    Usage(3, 4),
    Finish("tool_calls"),
]


def encoded(name: str, values: Iterable[Any], encoder: AnswerEncoder | None = None) -> list[Event]:
    """The events of a whole answer."""
    encoder = encoder or get_dialect(name).encoder()
    return [*(event for value in values for event in encoder.encode(value)), *encoder.done()]


def decoded(name: str, events: Iterable[Event]) -> list[Any]:
    """The values of an answer that has to be whole."""
    decoder = get_dialect(name).decoder()
    values = [value for event in events for value in decoder.decode(event)]
    decoder.end()
    return values


def read(event: Event) -> Any:
    """The JSON of the event; `[DONE]` as it is."""
    assert isinstance(event.data, str)
    return event.data if event.data == "[DONE]" else json.loads(event.data)


def types(events: Iterable[Event]) -> list[str]:
    """The types in the data; `[DONE]` as it is."""
    found = [read(event) for event in events]
    return [data if isinstance(data, str) else data["type"] for data in found]


def remains(name: str, values: Iterable[Any]) -> list[Any]:
    """What is left of an answer once it has gone through the dialect."""
    values = list(values)
    start = values[0] if values and isinstance(values[0], Start) else None
    said = _merged(_said(name, values))
    end: list[Any] = [Finish(_reason(name, values))]
    usages = [value for value in values if isinstance(value, Usage)]
    total = Usage(
        sum(usage.input_tokens for usage in usages), sum(usage.output_tokens for usage in usages)
    )
    # Anthropic's counts cannot be left out: none and nought are the same.
    if usages and (name != "anthropic" or total != Usage(0, 0)):
        end.append(total)
    return [_start(name, start), *said, *end]


def _start(name: str, start: Start | None) -> Start:
    """Without the id that an answer gets when it has none of its own."""
    fields = STARTS[name]
    return Start(**{field: getattr(start, field, None) for field in fields})


def unnamed(name: str, values: list[Any], given: Iterable[Any]) -> list[Any]:
    """Decoded values, pieces of calls joined, without the names that the encoder made up."""
    first = next(iter(given), None)
    known = first if isinstance(first, Start) else Start()
    start = values[0]
    assert isinstance(start, Start)
    for field in STARTS[name]:
        if getattr(known, field) is None:
            assert getattr(start, field)
            start = replace(start, **{field: None})
    return [start, *_merged(_said(name, values)), *values[_end_of(values) :]]


def _end_of(values: list[Any]) -> int:
    return next(place for place, value in enumerate(values) if isinstance(value, Finish))


def _said(name: str, values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        match value:
            case str() if value:
                yield value
            case Reasoning() if value.text:
                yield value
            case ToolCall():
                given = value.arguments
                arguments = json.loads(given or "{}") if isinstance(given, str) else given
                yield ToolCallDelta(value.id, dumps(arguments), value.name)
            case ToolCallDelta() if value.arguments or value.name:
                yield value
            case ToolResult() if name != "ai-sdk" and not isinstance(value.content, str):
                yield ToolResult(value.id, dumps(value.content))
            case ToolResult():
                yield value


def _merged(values: Iterable[Any]) -> list[Any]:
    merged: list[Any] = []
    for value in values:
        before = merged[-1] if merged else None
        if (
            isinstance(value, ToolCallDelta)
            and isinstance(before, ToolCallDelta)
            and before.id == value.id
        ):
            merged[-1] = replace(before, arguments=before.arguments + value.arguments)
        else:
            merged.append(value)
    return merged


def _reason(name: str, values: list[Any]) -> Any:
    given = [value.reason for value in values if isinstance(value, Finish)]
    # A response is completed or not; that it waits for a tool is seen by its calls.
    if given and (name != "openai-responses" or given[0] in ("length", "content_filter")):
        return given[0]
    calls = {value.id for value in values if isinstance(value, ToolCall | ToolCallDelta)}
    results = {value.id for value in values if isinstance(value, ToolResult)}
    return "tool_calls" if calls - results else "stop"
