from __future__ import annotations

import json
from typing import Any

import pytest

from django_sse.dialects import get_dialect
from django_sse.dialects.values import Finish, Reasoning, Start, ToolCall, ToolCallDelta, Usage
from django_sse.exceptions import InexpressibleValue, UpstreamError
from django_sse.wire import Event
from tests.unit.dialects.support import ANSWER, decoded, encoded, read, types

NAME = "anthropic"


def named(type: str, **fields: Any) -> Event:
    return Event(json.dumps({"type": type, **fields}), event=type)


STOP = named("message_stop")


def test_the_event_type_is_the_type_in_the_data() -> None:
    encoder = get_dialect(NAME).encoder()
    events = [*encoded(NAME, ANSWER), *encoder.failed("No."), *encoder.aborted()]
    assert [event.event for event in events] == types(events)


def test_blocks_come_one_after_the_other() -> None:
    events = [read(event) for event in encoded(NAME, ANSWER)]
    assert [event["type"] for event in events[:1] + events[-2:]] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    blocks = [(event["type"], event["index"]) for event in events if "index" in event]
    start, delta, stop = (f"content_block_{kind}" for kind in ("start", "delta", "stop"))
    assert blocks == [
        *[(start, 0), (delta, 0), (stop, 0)],
        *[(start, 1), (delta, 1), (delta, 1), (stop, 1)],
        *[(start, 2), (delta, 2), (delta, 2), (stop, 2)],
        *[(start, 3), (delta, 3), (stop, 3)],
    ]
    assert [event["content_block"]["type"] for event in events if "content_block" in event] == [
        "thinking",
        "text",
        "tool_use",
        "tool_use",
    ]


def test_the_message_begins_empty_and_ends_with_its_reason_and_counts() -> None:
    events = [read(event) for event in encoded(NAME, ANSWER)]
    message = events[0]["message"]
    assert (message["id"], message["model"], message["role"]) == ("a1", "m", "assistant")
    assert (message["content"], message["stop_reason"]) == ([], None)
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    counts = events[-2]["usage"]
    assert (counts["input_tokens"], counts["output_tokens"]) == (3, 4)


@pytest.mark.parametrize("between", ["text", Reasoning("hm"), ToolCall("d", "g", {})])
def test_a_call_cannot_go_on_after_another_block(between: Any) -> None:
    encoder = get_dialect(NAME).encoder()
    encoder.encode(ToolCallDelta("c", "{", "f"))
    encoder.encode(Usage(1, 1))
    encoder.encode(ToolCallDelta("c", '"a"'))
    encoder.encode(between)
    with pytest.raises(InexpressibleValue, match="the call is over"):
        encoder.encode(ToolCallDelta("c", ":1}"))


def test_an_error_has_the_form_of_the_api() -> None:
    (event,) = get_dialect(NAME).encoder(9).failed("No.", "interrupted")
    assert event.event == "error"
    assert read(event)["error"] == {"type": "api_error", "message": "No."}


def test_what_the_api_sends_is_read() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": None,
        "output_tokens": 1,
    }
    delta = "content_block_delta"
    events = [
        named("message_start", message={"id": "m1", "model": "m", "usage": usage}),
        named("ping"),
        named("content_block_start", index=0, content_block={"type": "text", "text": "a"}),
        named(delta, index=0, delta={"type": "text_delta", "text": "b"}),
        named(delta, index=0, delta={"type": "citations_delta", "citation": {}}),
        named("content_block_stop", index=0),
        named("content_block_start", index=1, content_block={"type": "server_tool_use", "id": "s"}),
        named(delta, index=1, delta={"type": "input_json_delta", "partial_json": '{"q":'}),
        named(
            "content_block_start",
            index=2,
            content_block={"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
        ),
        named(delta, index=2, delta={"type": "input_json_delta", "partial_json": ""}),
        named("content_block_start", index=3, content_block={"type": "thinking", "thinking": ""}),
        named(delta, index=3, delta={"type": "signature_delta", "signature": "x"}),
        named("message_delta", delta={"stop_reason": "pause_turn"}, usage={"output_tokens": 7}),
        STOP,
    ]
    assert decoded(NAME, events) == [
        Start("m1", "m"),
        "a",
        "b",
        ToolCallDelta("c", '{"a":1}', "f"),
        Finish("stop"),
        Usage(15, 7),
    ]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        (None, "stop"),
    ],
)
def test_reasons_to_stop_are_understood(word: str | None, reason: Any) -> None:
    events = [named("message_delta", delta={"stop_reason": word}, usage=None), STOP]
    assert decoded(NAME, events) == [Finish(reason)]


def test_an_upstreams_error_is_told_by_its_word() -> None:
    error = {"type": "overloaded_error", "message": "secret"}
    with pytest.raises(UpstreamError, match="overloaded_error") as caught:
        get_dialect(NAME).decoder().decode(named("error", error=error))
    assert "secret" not in str(caught.value)
