from __future__ import annotations

import json
from typing import Any

import pytest

from django_sse.dialects import Usage, get_dialect
from django_sse.dialects.answer import STOPPED
from django_sse.dialects.values import Finish, Reasoning, Start, ToolCall, ToolCallDelta, ToolResult
from django_sse.exceptions import UpstreamError
from django_sse.wire import Event
from tests.unit.dialects.support import ANSWER, decoded, encoded, read, types

NAME = "ag-ui"


def named(type: str, **fields: Any) -> Event:
    return Event(json.dumps({"type": type, **fields}))


FINISHED = named("RUN_FINISHED", threadId="t", runId="r")


def test_messages_and_calls_are_opened_and_closed() -> None:
    events = encoded(NAME, [Reasoning("hm"), "a", "b", ToolCall("c", "f", {}), ToolResult("c", 1)])
    assert types(events) == [
        "RUN_STARTED",
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "TOOL_CALL_RESULT",
        "RUN_FINISHED",
    ]


def test_no_event_has_a_type_of_the_wire_or_a_field_without_a_value() -> None:
    for event in encoded(NAME, ANSWER):
        assert event.event is None
        assert None not in read(event).values()


def test_the_run_and_its_thread_are_those_of_the_start() -> None:
    first, *_, last = [read(event) for event in encoded(NAME, [*ANSWER[:-1], Finish("length")])]
    assert first == {"type": "RUN_STARTED", "threadId": "t1", "runId": "a1"}
    assert last == {
        "type": "RUN_FINISHED",
        "threadId": "t1",
        "runId": "a1",
        "outcome": {"type": "success", "pendingToolCallIds": ["c1", "c2"]},
        "usage": [{"model": "m", "inputTokens": 3, "outputTokens": 4, "totalTokens": 7}],
        "metadata": {"finishReason": "length"},
    }


def test_a_call_belongs_to_the_message_before_it_and_not_beyond_a_result() -> None:
    said = ["a", ToolCall("c", "f", {}), ToolResult("c", {"r": 1}), ToolCall("d", "f", {})]
    events = [read(event) for event in encoded(NAME, said)]
    message = next(event["messageId"] for event in events if event["type"] == "TEXT_MESSAGE_START")
    calls = [event for event in events if event["type"] == "TOOL_CALL_START"]
    assert [call.get("parentMessageId") for call in calls] == [message, None]
    (result,) = [event for event in events if event["type"] == "TOOL_CALL_RESULT"]
    assert (result["toolCallId"], result["content"], result["role"]) == ("c", '{"r":1}', "tool")


def test_an_error_ends_what_is_being_said() -> None:
    encoder = get_dialect(NAME).encoder()
    encoder.encode("a")
    encoder.encode(Usage(1, 2))
    events = encoder.failed("No.", "interrupted")
    assert types(events) == ["TEXT_MESSAGE_END", "RUN_ERROR"]
    error = read(events[-1])
    assert (error["message"], error["code"]) == ("No.", "interrupted")
    assert error["usage"] == [{"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}]


@pytest.mark.parametrize("said", [["a"], [ToolCall("c", "f", {}), "a"]], ids=["text", "a call"])
def test_a_stopped_run_is_cancelled_and_its_message_closed(said: list[Any]) -> None:
    encoder = get_dialect(NAME).encoder()
    for value in said:
        encoder.encode(value)
    events = encoder.aborted()
    assert types(events) == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert read(events[-1])["outcome"] == {"type": "cancelled"}


def test_stopped_within_a_call_a_run_does_not_give_half_of_it_out_as_whole() -> None:
    encoder = get_dialect(NAME).encoder()
    for value in (ToolCallDelta("c", '{"city":', "f"), "a"):
        encoder.encode(value)
    events = encoder.aborted()
    assert types(events) == ["TEXT_MESSAGE_END", "RUN_ERROR"]
    assert (read(events[-1])["message"], read(events[-1])["code"]) == (STOPPED, "aborted")


def test_another_process_ends_a_stopped_run_with_an_error() -> None:
    (event,) = get_dialect(NAME).encoder(5).aborted()
    assert (read(event)["type"], read(event)["code"]) == ("RUN_ERROR", "aborted")


def test_what_other_producers_send_is_read() -> None:
    events = [
        named("RUN_STARTED", threadId="t", runId="r"),
        named("STATE_SNAPSHOT", snapshot={}),
        named("THINKING_TEXT_MESSAGE_CONTENT", delta="old"),
        named("REASONING_MESSAGE_CHUNK", delta="new"),
        named("TEXT_MESSAGE_CHUNK", messageId="m", delta="a"),
        named("TOOL_CALL_CHUNK", toolCallId="c", toolCallName="f", delta="{"),
        named("TOOL_CALL_CHUNK", delta="}"),
        named("TOOL_CALL_RESULT", toolCallId="c", messageId="n", content="1"),
        named("TOOL_CALL_START", toolCallId="d", toolCallName="g"),
        named(
            "RUN_FINISHED",
            usage=[{"inputTokens": 1, "outputTokens": 2}, {"model": "x"}, {"inputTokens": 10}],
        ),
    ]
    assert decoded(NAME, events) == [
        Start("r", thread="t"),
        Reasoning("old"),
        Reasoning("new"),
        "a",
        ToolCallDelta("c", "{", "f"),
        ToolCallDelta("c", "}"),
        ToolResult("c", "1"),
        ToolCallDelta("d", "", "g"),
        Finish("tool_calls"),
        Usage(11, 2),
    ]
    assert decoded(NAME, [FINISHED]) == [Finish("stop")]


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (named("RUN_ERROR", message="secret", code="timeout"), "timeout"),
        (named("RUN_ERROR", message="secret"), None),
        (named("RUN_FINISHED", outcome={"type": "cancelled"}), "aborted"),
    ],
)
def test_errors_and_cancelled_runs_are_errors(event: Event, code: str | None) -> None:
    with pytest.raises(UpstreamError) as caught:
        get_dialect(NAME).decoder().decode(event)
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
