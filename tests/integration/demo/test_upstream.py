"""The stand-in: what it answers, how it cuts, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from django.test import AsyncClient
from hypothesis import given
from hypothesis import strategies as st

from demo_project.upstream.behaviours import BEHAVIOURS
from demo_project.upstream.chunks import completion, cut
from demo_project.upstream.composer import compose, tokens
from django_sse.wire import Decoder
from tests.integration.demo.streams import everything

URL = "/upstream/v1/chat/completions"
QUESTION: dict[str, Any] = {
    "model": "answer",
    "stream": True,
    "messages": [{"role": "user", "content": "What is an event stream?"}],
}


def contents(frames: Iterable[str]) -> str:
    deltas = [json.loads(data)["choices"][0]["delta"] for data in frames if data != "[DONE]"]
    return "".join(delta.get("content", "") for delta in deltas)


async def test_an_answer_is_a_stream_of_chunks_that_ends_with_done(
    async_client: AsyncClient,
) -> None:
    response: Any = await async_client.post(URL, QUESTION, content_type="application/json")
    events = await everything(response)
    assert {event.type for event in events} == {"message"}
    assert events[-1].data == "[DONE]"
    first, last = json.loads(events[0].data), json.loads(events[-2].data)
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert contents(event.data for event in events) == compose("What is an event stream?")


async def test_its_bytes_are_cut_across_frames(async_client: AsyncClient) -> None:
    response: Any = await async_client.post(URL, QUESTION, content_type="application/json")
    pieces = [piece async for piece in response.streaming_content]
    inside = [piece for piece in pieces if not piece.endswith(b"\n\n")]
    assert len(inside) > len(pieces) / 2


@given(st.lists(st.text(max_size=40), max_size=20))
def test_cutting_loses_and_adds_nothing(words: list[str]) -> None:
    sent = [piece.encode("utf-8", "replace").decode() for piece in words]
    decoder = Decoder()
    events = [event for piece in cut(completion("answer", sent)) for event in decoder.feed(piece)]
    assert events[-1].data == "[DONE]"
    assert contents(event.data for event in events) == "".join(sent)


@given(st.text())
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text.rstrip()


def test_the_same_prompt_gets_the_same_answer_and_any_prompt_gets_one() -> None:
    assert compose("Django?") == compose("Django?")
    assert compose("Django?") != compose("WebSockets?")
    assert compose("qwertz") != ""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model": "gpt-4o"}, "stand-in"),
        ({"model": None}, '"model"'),
        ({"stream": False}, '"stream" must be true'),
        ({"messages": []}, '"messages"'),
        ({"messages": "hi"}, '"messages"'),
        ({"messages": [1]}, '"messages"'),
        ({"messages": [{"role": "user"}]}, '"content"'),
        ({"messages": [{"content": "x" * 8001}]}, "the limit is 8000"),
    ],
)
async def test_a_request_it_does_not_understand_is_400_in_openais_form(
    async_client: AsyncClient, change: dict[str, Any], complaint: str
) -> None:
    response: Any = await async_client.post(URL, QUESTION | change, content_type="application/json")
    assert response.status_code == 400
    error = response.json()["error"]
    assert complaint in error["message"]
    assert error["type"] == "invalid_request_error"


async def test_a_get_is_405(async_client: AsyncClient) -> None:
    assert (await async_client.get(URL)).status_code == 405


async def test_asked_to_it_answers_500(async_client: AsyncClient) -> None:
    response: Any = await async_client.post(
        URL, QUESTION | {"model": "status"}, content_type="application/json"
    )
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"


async def test_asked_to_it_answers_429_and_says_when_to_ask_again(
    async_client: AsyncClient,
) -> None:
    response: Any = await async_client.post(
        URL, QUESTION | {"model": "busy"}, content_type="application/json"
    )
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0
    assert response.json()["error"]["type"] == "rate_limit_exceeded"


async def test_asked_to_it_sends_an_error_in_the_middle(async_client: AsyncClient) -> None:
    response: Any = await async_client.post(
        URL, QUESTION | {"model": "error"}, content_type="application/json"
    )
    *before, last = await everything(response)
    assert json.loads(last.data)["error"]["type"] == "server_error"
    said = contents(event.data for event in before)
    assert said
    assert compose("What is an event stream?").startswith(said)


@pytest.mark.parametrize("model", sorted(set(BEHAVIOURS) - {"answer", "busy", "status"}))
async def test_asked_to_it_does_not_end_as_an_answer_does(
    async_client: AsyncClient, model: str
) -> None:
    response: Any = await async_client.post(
        URL, QUESTION | {"model": model}, content_type="application/json"
    )
    body = b"".join([piece async for piece in response.streaming_content])
    whole = b"".join(cut(completion("answer", tokens(compose(QUESTION["messages"][0]["content"])))))
    assert body.startswith(b'data: {"id":"chatcmpl-')
    assert not body.endswith(whole[-16:]) or b"\xff\xfe" in body
