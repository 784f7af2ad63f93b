from __future__ import annotations

import json
from typing import Any

import pytest

from django_sse.dialects import Usage, get_dialect
from django_sse.dialects.values import Finish, Reasoning, Start, ToolCall, ToolCallDelta, ToolResult
from django_sse.exceptions import UpstreamError
from django_sse.wire import Event
from tests.unit.dialects.support import decoded, encoded, read, types

NAME = "ai-sdk"
DONE = Event("[DONE]")


def part(type: str, **fields: Any) -> Event:
    return Event(json.dumps({"type": type, **fields}))


def test_the_front_end_is_told_of_the_protocol_by_a_header() -> None:
    assert dict(get_dialect(NAME).headers) == {"x-vercel-ai-ui-message-stream": "v1"}


def test_parts_are_opened_and_closed_under_ids_of_their_own() -> None:
    events = encoded(NAME, [Start("a1"), Reasoning("hm"), "a", "b", Reasoning("so"), Usage(3, 4)])
    assert [read(event) for event in events[:-1]] == [
        {"type": "start", "messageId": "a1"},
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "1"},
        {"type": "reasoning-delta", "id": "1", "delta": "hm"},
        {"type": "reasoning-end", "id": "1"},
        {"type": "text-start", "id": "2"},
        {"type": "text-delta", "id": "2", "delta": "a"},
        {"type": "text-delta", "id": "2", "delta": "b"},
        {"type": "text-end", "id": "2"},
        {"type": "reasoning-start", "id": "3"},
        {"type": "reasoning-delta", "id": "3", "delta": "so"},
        {"type": "reasoning-end", "id": "3"},
        {"type": "finish-step"},
        {
            "type": "finish",
            "finishReason": "stop",
            "messageMetadata": {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}},
        },
    ]
    assert events[-1] == DONE


def test_calls_are_streamed_and_then_given_whole() -> None:
    said = [ToolCallDelta("c", '{"q"', "f"), ToolCallDelta("c", ":1}"), ToolCall("d", "g", "")]
    events = [read(event) for event in encoded(NAME, said)[2:-3]]
    assert events == [
        {"type": "tool-input-start", "toolCallId": "c", "toolName": "f"},
        {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": '{"q"'},
        {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": ":1}"},
        {"type": "tool-input-available", "toolCallId": "d", "toolName": "g", "input": {}},
        {"type": "tool-input-available", "toolCallId": "c", "toolName": "f", "input": {"q": 1}},
    ]


@pytest.mark.parametrize("arguments", ['{"q"', "[1]", '{"q": NaN}', "nonsense"])
def test_arguments_that_are_no_object_are_an_error_of_the_call(arguments: str) -> None:
    events = [read(event) for event in encoded(NAME, [ToolCallDelta("c", arguments, "f")])[4:5]]
    assert events == [
        {
            "type": "tool-input-error",
            "toolCallId": "c",
            "toolName": "f",
            "input": arguments,
            "errorText": "The arguments are not a JSON object.",
        }
    ]


def test_a_step_ends_when_all_its_calls_have_their_results() -> None:
    said = [
        "a",
        ToolCall("c", "f", {}),
        ToolCallDelta("d", "{}", "g"),
        ToolResult("c", {"r": 1}),
        "still",
        ToolResult("d", None),
        Reasoning("then"),
        ToolCall("e", "f", {}),
        ToolResult("e", "r"),
        ToolCall("h", "f", {}),
    ]
    kinds = [kind.removeprefix("tool-") for kind in types(encoded(NAME, said))]
    assert [kind for kind in kinds if not kind.startswith(("text-", "reasoning-"))] == [
        "start",
        "start-step",
        "input-available",
        "input-start",
        "input-delta",
        "output-available",
        "input-available",
        "output-available",
        "finish-step",
        "start-step",
        "input-available",
        "output-available",
        "finish-step",
        "start-step",
        "input-available",
        "finish-step",
        "finish",
        "[DONE]",
    ]


def test_an_open_text_ends_with_its_step() -> None:
    said = [ToolCall("c", "f", {}), "a", ToolResult("c", 1), "b"]
    kinds = types(encoded(NAME, said))
    assert kinds.index("text-end") < kinds.index("finish-step")
    assert (kinds.count("text-start"), kinds.count("text-end")) == (2, 2)


def test_errors_and_stops_close_the_text_but_give_no_half_call() -> None:
    for way in ("error", "abort"):
        encoder = get_dialect(NAME).encoder()
        for value in (ToolCallDelta("c", '{"q"', "f"), "a"):
            encoder.encode(value)
        events = encoder.aborted() if way == "abort" else encoder.failed("No.")
        assert types(events) == ["text-end", way, "[DONE]"]
    assert read(get_dialect(NAME).encoder(4).failed("No.")[0]) == {
        "type": "error",
        "errorText": "No.",
    }


def test_what_the_sdk_sends_is_read() -> None:
    events = [
        part("start", messageMetadata={"x": 1}),
        part("start-step"),
        part("source-url", sourceId="s", url="u"),
        part("data-weather", data={}),
        part("tool-input-start", toolCallId="c", toolName="f"),
        part("tool-input-available", toolCallId="c", toolName="f", input={"q": 1}),
        part("tool-output-available", toolCallId="c", output=1, preliminary=True),
        part("tool-output-available", toolCallId="c", output=[2]),
        part("tool-input-error", toolCallId="d", toolName="g", input="{", errorText="secret"),
        part("tool-output-error", toolCallId="d", errorText="no"),
        part("finish", finishReason="other", messageMetadata={"usage": {"inputTokens": 5}}),
        DONE,
    ]
    assert decoded(NAME, events) == [
        Start(),
        ToolCallDelta("c", "", "f"),
        ToolCallDelta("c", '{"q":1}'),
        ToolResult("c", [2]),
        ToolCallDelta("d", "{", "g"),
        ToolResult("d", "no"),
        Finish("stop"),
        Usage(5, 0),
    ]


def test_an_upstreams_error_and_stop_are_errors_without_its_text() -> None:
    for event in (part("error", errorText="secret"), part("abort", reason="secret")):
        with pytest.raises(UpstreamError) as caught:
            get_dialect(NAME).decoder().decode(event)
        assert "secret" not in str(caught.value)
