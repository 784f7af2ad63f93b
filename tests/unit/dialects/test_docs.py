"""The examples of docs/dialects.md work as they stand there."""

from __future__ import annotations

import re
from typing import Any

from django_sse import event_stream
from django_sse.dialects import DIALECTS, Dialect, get_dialect
from django_sse.dialects.values import Finish, Reasoning, Start, ToolCallDelta, Usage
from django_sse.exceptions import StreamError
from django_sse.wire import Event, encode
from tests import ROOT
from tests.unit.dialects.support import decoded, encoded
from tests.unit.http.support import asgi_request, events
from tests.unit.test_relay import serving

PAGE = (ROOT / "docs" / "dialects.md").read_text()


def example(of: str, **names: Any) -> dict[str, Any]:
    """What the Python block that has these words in it defines."""
    (block,) = [each for each in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if of in each]
    exec(block, names)
    return names


async def sent_by(view: Any) -> tuple[Any, list[Event]]:
    response = await view(asgi_request())
    return response, [
        Event(message.data, event=None if message.type == "message" else message.type)
        for message in await events(response)
    ]


async def test_the_first_example_is_a_chat_completion() -> None:
    _, sent = await sent_by(example("It is ")["answer"])
    assert decoded("openai-chat", sent)[1:] == [
        Reasoning("They ask for the weather."),
        "It is ",
        "raining.",
        ToolCallDelta("call_1", '{"open":true}', "umbrella"),
        Finish("tool_calls"),
        Usage(12, 8),
    ]


async def test_an_openai_upstream_is_served_to_an_ai_sdk_front_end() -> None:
    said = [Start("a1", "m"), "Hel", "lo", Finish("length"), Usage(1, 2)]
    upstream_sends = [encode(event) for event in encoded("openai-chat", said)]
    async with serving(*upstream_sends) as upstream:
        view = example("relay(upstream", URL=upstream.url, KEY={}, question={})["answer"]
        response, sent = await sent_by(view)
    assert response["x-vercel-ai-ui-message-stream"] == "v1"
    assert response["Content-Type"].startswith("text/event-stream")
    assert decoded("ai-sdk", sent) == [Start("a1"), *said[1:]]


async def test_an_upstream_that_dies_ends_the_front_ends_answer_with_its_own_error() -> None:
    upstream_sends = [encode(event) for event in encoded("openai-chat", ["a", "b"])][:-2]
    async with serving(*upstream_sends, then="hang up") as upstream:
        view = example("relay(upstream", URL=upstream.url, KEY={}, question={})["answer"]
        _, sent = await sent_by(view)
    assert '"type":"error"' in str(sent[-2].data)
    assert "broke before the answer ended" in str(sent[-2].data)
    assert sent[-1] == Event("[DONE]")


async def test_a_dialect_of_ones_own_streams_and_ends_in_its_own_way() -> None:
    names = example("class Lines")
    own: Dialect = names["Lines"]()
    assert get_dialect(own) is own

    @event_stream(dialect=own)
    async def lines(request: Any) -> Any:
        yield "one"
        yield "two"

    @event_stream(dialect=own)
    async def broken(request: Any) -> Any:
        yield "one"
        raise StreamError("No more.")

    assert (await sent_by(lines))[1] == [
        Event("one", event="line"),
        Event("two", event="line"),
        Event("whole", event="end"),
    ]
    assert (await sent_by(broken))[1][-1] == Event("No more.", event="failed")


def test_the_table_of_names_is_whole() -> None:
    assert set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE)) >= set(DIALECTS)
