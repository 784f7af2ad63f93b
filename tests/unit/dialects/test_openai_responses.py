from __future__ import annotations

import json
from typing import Any

import pytest

from django_sse.dialects import Usage, get_dialect
from django_sse.dialects.values import Finish, Reasoning, Start, ToolCall, ToolCallDelta, ToolResult
from django_sse.exceptions import UpstreamError
from django_sse.wire import Event
from tests.unit.dialects.support import ANSWER, decoded, encoded, read, types

NAME = "openai-responses"


def named(type: str, **fields: Any) -> Event:
    return Event(json.dumps({"type": type, **fields}), event=type)


COMPLETED = named("response.completed", response={"status": "completed"})


def test_every_item_and_part_is_opened_and_closed() -> None:
    assert types(encoded(NAME, [Reasoning("hm"), "a", "b", ToolCall("c", "f", {})])) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_the_type_is_said_twice_and_the_events_are_numbered() -> None:
    events = encoded(NAME, ANSWER)
    assert [event.event for event in events] == types(events)
    assert [read(event)["sequence_number"] for event in events] == list(range(len(events)))


def test_the_last_event_holds_the_whole_response() -> None:
    answer = [*ANSWER[:-2], ToolResult("c2", {"r": 1}), "end", Usage(3, 4)]
    events = [read(event) for event in encoded(NAME, answer)]
    response = events[-1]["response"]
    assert (response["id"], response["model"], response["status"]) == ("a1", "m", "completed")
    done = {
        event["output_index"]: event["item"]
        for event in events
        if event["type"] == "response.output_item.done"
    }
    assert response["output"] == [done[index] for index in range(len(done))]
    assert [item["type"] for item in response["output"]] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "function_call_output",
        "message",
    ]
    assert response["output"][1]["content"][0]["text"] == "Hello é\n\u2028😀"
    assert response["output"][2]["arguments"] == '{"q":1}'
    assert response["output"][4]["output"] == '{"r":1}'
    assert response["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7,
    }


@pytest.mark.parametrize(
    ("reason", "word"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_cut_short_is_incomplete(reason: Any, word: str) -> None:
    last = read(encoded(NAME, ["a", Finish(reason)])[-1])
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": word}
    assert last["response"]["output"][0]["status"] == "incomplete"


def test_a_failed_response_leaves_out_the_calls_that_are_not_whole() -> None:
    encoder = get_dialect(NAME).encoder()
    for value in ("a", ToolCallDelta("c", '{"q"', "f"), "b"):
        encoder.encode(value)
    *_, last = encoder.failed("No.")
    response = read(last)["response"]
    assert (response["status"], response["error"]) == (
        "failed",
        {"code": "server_error", "message": "No."},
    )
    assert [(item["type"], item["status"]) for item in response["output"]] == [
        ("message", "completed"),
        ("message", "incomplete"),
    ]


def test_a_response_of_another_process_ends_with_an_error_that_needs_no_id() -> None:
    (event,) = get_dialect(NAME).encoder(7).failed("Restarted.", "interrupted")
    assert event.event == "error"
    assert read(event) == {
        "type": "error",
        "code": "interrupted",
        "message": "Restarted.",
        "param": None,
        "sequence_number": 7,
    }


def test_an_answer_that_was_stopped_before_its_first_word_is_opened() -> None:
    events = get_dialect(NAME).encoder().aborted()
    assert types(events) == ["response.created", "response.in_progress", "error"]
    assert read(events[-1])["code"] == "aborted"
    assert types(get_dialect(NAME).encoder(7).aborted()) == ["error"]


def test_summaries_refusals_and_calls_that_come_whole_are_read() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f"}
    events = [
        named("response.created", response={"id": "r", "model": "m"}),
        named("response.reasoning_summary_text.delta", delta="s"),
        named("response.refusal.delta", delta="no"),
        named("response.output_item.added", output_index=1, item={"type": "web_search_call"}),
        named("response.output_item.added", output_index=2, item={**call, "arguments": ""}),
        named("response.output_item.done", output_index=2, item={**call, "arguments": "{}"}),
        named(
            "response.output_item.done",
            output_index=3,
            item={**call, "call_id": "d", "arguments": "[]"},
        ),
        COMPLETED,
    ]
    assert decoded(NAME, events) == [
        Start("r", "m"),
        Reasoning("s"),
        "no",
        ToolCallDelta("c", "", "f"),
        ToolCallDelta("c", "{}"),
        ToolCallDelta("d", "[]", "f"),
        Finish("tool_calls"),
    ]


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (named("error", code="server_error", message="secret"), "server_error"),
        (named("error", error={"type": "overloaded", "message": "secret"}), "overloaded"),
        (named("response.failed", response={"error": {"code": "bio_policy"}}), "bio_policy"),
        (named("response.failed", response={}), None),
    ],
)
def test_an_upstreams_error_is_told_by_its_word(event: Event, code: str | None) -> None:
    with pytest.raises(UpstreamError) as caught:
        get_dialect(NAME).decoder().decode(event)
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
