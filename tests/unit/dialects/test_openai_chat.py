from __future__ import annotations

import json
from typing import Any

import pytest

from django_sse.dialects import Finish, Reasoning, Start, ToolCallDelta, Usage, get_dialect
from django_sse.exceptions import UpstreamError, UpstreamFormatError
from django_sse.wire import Event
from tests.unit.dialects.support import ANSWER, decoded, encoded, read

NAME = "openai-chat"


def chunk(delta: Any = None, *, index: Any = 0, reason: str | None = None, **more: Any) -> Event:
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return Event(json.dumps({**head, "choices": [choice], **more}))


DONE = Event("[DONE]")


def test_chunks_have_all_that_their_type_asks_for() -> None:
    events = encoded(NAME, ANSWER)
    assert {event.event for event in events} == {None}
    assert events[-1] == DONE
    chunks = [read(event) for event in events[:-1]]
    assert {(each["id"], each["object"], each["model"]) for each in chunks} == {
        ("a1", "chat.completion.chunk", "m")
    }
    assert len({each["created"] for each in chunks}) == 1
    choices = [each["choices"][0] for each in chunks[:-1]]
    assert {tuple(choice) for choice in choices} == {
        ("index", "delta", "logprobs", "finish_reason")
    }
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm"},
        {"content": "Hel"},
        {"content": "lo é\n\u2028😀"},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "find", "arguments": '{"q"'},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "c2",
                    "type": "function",
                    "function": {"name": "get", "arguments": '{"x":"y"}'},
                }
            ]
        },
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None] * 7 + ["tool_calls"]


def test_usage_is_the_last_chunk_and_has_no_choice() -> None:
    last = read(encoded(NAME, ["a", Usage(3, 4), Finish("stop")])[-2])
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_nothing_comes_after_an_error() -> None:
    encoder = get_dialect(NAME).encoder()
    encoder.encode("a")
    (event,) = encoder.failed("No.", "interrupted")
    assert read(event) == {
        "error": {"message": "No.", "type": "server_error", "param": None, "code": "interrupted"}
    }


def test_a_stopped_answer_is_not_made_to_look_whole() -> None:
    (event,) = get_dialect(NAME).encoder(3).aborted()
    assert read(event)["error"]["code"] == "aborted"


def test_what_compatible_servers_send_is_read() -> None:
    events = [
        Event('{"id": "", "model": "", "choices": [], "prompt_filter_results": []}'),
        chunk({"role": "assistant", "content": None}, usage=None),
        chunk({"reasoning": "r1"}),
        chunk({"reasoning_content": "r2", "content": ""}),
        chunk({"content": "a"}, index=None, usage={"prompt_tokens": 2, "completion_tokens": 1}),
        chunk({"content": "other"}, index=1),
        chunk({"refusal": "no"}),
        chunk(None, reason="eos"),
        Event('{"choices": null, "usage": {"prompt_tokens": 2, "completion_tokens": 3}}'),
        DONE,
    ]
    assert decoded(NAME, events) == [
        Start("chatcmpl-1", "m"),
        Reasoning("r1"),
        Reasoning("r2"),
        "a",
        "no",
        Finish("stop"),
        Usage(2, 3),
    ]


def call(**piece: Any) -> Event:
    return chunk({"tool_calls": [piece]})


def test_calls_of_compatible_servers_are_told_apart() -> None:
    events = [
        # Whole calls without an index, or all with the same one; an id that is said again.
        call(id="c1", function={"name": "f", "arguments": "{}"}),
        call(id="c2", function={"name": "g", "arguments": "{}"}),
        call(index=0, id="c3", function={"name": "h", "arguments": ""}),
        call(index=0, id="c3", function={"arguments": "{"}),
        call(index=0, id="", function={"arguments": "}"}),
        call(index=0, id="c4", function={"name": "i", "arguments": "{}"}),
        call(index=0, function={"arguments": None}),
        DONE,
    ]
    assert decoded(NAME, events)[1:-1] == [
        ToolCallDelta("c1", "{}", "f"),
        ToolCallDelta("c2", "{}", "g"),
        ToolCallDelta("c3", "", "h"),
        ToolCallDelta("c3", "{"),
        ToolCallDelta("c3", "}"),
        ToolCallDelta("c4", "{}", "i"),
    ]


def test_a_call_without_an_id_gets_one() -> None:
    events = [call(index=0, function={"name": "f", "arguments": "{}"}), DONE]
    (value,) = decoded(NAME, events)[1:-1]
    assert (value.arguments, value.name) == ("{}", "f")
    assert value.id.startswith("call_")


@pytest.mark.parametrize(
    "event",
    [
        Event('{"choices": "none"}'),
        Event('{"choices": ["none"]}'),
        chunk({"content": 7}),
        chunk("text"),
        call(index=0, id="c1", function={"arguments": "{}"}),
    ],
)
def test_chunks_of_another_shape_are_named_errors(event: Event) -> None:
    with pytest.raises(UpstreamFormatError, match="dialect"):
        get_dialect(NAME).decoder().decode(event)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"message": "secret", "code": "rate_limit_exceeded", "type": "x"}, "rate_limit_exceeded"),
        ({"message": "secret", "code": None, "type": "server_error"}, "server_error"),
        ({"message": "secret", "code": 429, "type": None}, None),
        ({"code": "see https://secret"}, None),
        ("secret", None),
    ],
)
def test_of_an_upstreams_error_only_its_word_is_told(error: Any, code: str | None) -> None:
    with pytest.raises(UpstreamError) as caught:
        get_dialect(NAME).decoder().decode(Event(json.dumps({"error": error})))
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
    assert code is None or code in str(caught.value)
