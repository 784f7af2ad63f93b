"""The endpoints for the vendors' SDKs: what they read. tests/integration/sdks has the SDKs."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import AsyncClient, RequestFactory

from demo_project.compatible.answers import answer, script
from demo_project.compatible.prompts import MAX_PROMPT, prompt_of
from demo_project.errors import BadInput
from django_sse.dialects import Start, ToolCall, ToolCallDelta, Usage
from django_sse.exceptions import StreamError

PATHS = ("openai/v1/chat/completions", "anthropic/v1/messages", "ai-sdk/chat", "ag-ui/")


def request(body: Any) -> Any:
    return RequestFactory().post("/", body, content_type="application/json")


@pytest.mark.parametrize(
    "messages",
    [
        "Hello",
        [{"content": "Hello"}],
        [{"content": "Bye"}, {"role": "user", "content": " Hello "}],
        [{"content": [{"type": "text", "text": "Hel"}, {"type": "image"}, {"text": "lo"}]}],
        [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}],
    ],
)
def test_reads_the_newest_text_in_the_form_of_each_vendor(messages: Any) -> None:
    assert prompt_of(request({"messages": messages})) == "Hello"
    assert prompt_of(request({"stream": True, "input": messages}), "input") == "Hello"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({}, '"messages" is missing'),
        ({"messages": []}, '"messages" is missing'),
        ({"messages": [None]}, '"messages" is missing'),
        ({"messages": [{"content": 7}]}, '"messages" is missing'),
        ({"messages": [{"parts": [{"type": "image"}]}]}, '"messages" is empty'),
        ({"messages": "x" * (MAX_PROMPT + 1)}, "the limit is"),
        ({"messages": "a\x00b"}, "NUL"),
        ({"messages": "Hello", "stream": False}, '"stream" must be true'),
        (["no object"], "must be an object"),
    ],
)
def test_what_is_no_question_is_refused_in_words(body: Any, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        prompt_of(request(body))


@pytest.mark.parametrize("path", PATHS)
async def test_a_refusal_is_no_stream(async_client: AsyncClient, path: str) -> None:
    body: dict[str, object] = {"id": "c", "threadId": "t", "runId": "r", "messages": []}
    response = await async_client.post(f"/compatible/{path}", body, content_type="application/json")
    assert response.status_code == 400
    assert "messages" in response.json()["error"]


@pytest.mark.parametrize(
    ("path", "name"), [("ai-sdk/chat", "id"), ("ag-ui/", "threadId"), ("ag-ui/", "runId")]
)
async def test_an_id_that_the_answer_needs_is_asked_for(
    async_client: AsyncClient, path: str, name: str
) -> None:
    body: dict[str, object] = {"id": "c", "threadId": "t", "runId": "r", "messages": "Hello"}
    del body[name]
    response = await async_client.post(f"/compatible/{path}", body, content_type="application/json")
    assert response.status_code == 400
    assert f'"{name}" is missing' in response.json()["error"]


async def test_an_answer_is_its_script(demo: Any) -> None:
    values = [value async for value in answer("Tell me of event streams", Start("a1"))]
    assert values[0] == Start("a1")
    assert values[1:] == script("Tell me of event streams")[0]
    assert isinstance(values[-1], Usage)


async def test_fail_raises_what_the_client_may_read_after_some_of_the_answer(demo: Any) -> None:
    values = []

    async def read() -> None:
        async for value in answer("fail to tell me of event streams"):
            values.append(value)

    with pytest.raises(StreamError, match="asked to fail"):
        await read()
    whole = script("to tell me of event streams")[0]
    assert 5 < len(values[1:]) < len(whole)
    assert values[1:] == whole[: len(values) - 1]


def test_tool_calls_come_in_pieces_and_whole() -> None:
    kinds = [type(value) for value in script("use a tool")[0]]
    assert kinds == [ToolCallDelta, ToolCallDelta, ToolCall, Usage]
