"""Asks an endpoint for an answer with a vendor's SDK for Python, and prints what the SDK said.

What it reads and prints, `tests/node/sdk.mjs` describes:

    python -m tests.integration.sdks.python_client openai-chat|openai-responses|anthropic
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

HOSTS: set[str] = set()
Answer = dict[str, Any]


def say(kind: str, **fields: Any) -> None:
    print(json.dumps({"kind": kind, **fields}), flush=True)


def answer(
    text: str, tools: list[Answer], usage: tuple[int, int] | None, reason: str | None
) -> Answer:
    named = {"input": usage[0], "output": usage[1]} if usage else None
    return {"text": text, "tools": tools, "usage": named, "reason": reason}


def tool(identity: str, name: str, arguments: Any) -> Answer:
    if isinstance(arguments, str):
        with suppress(ValueError):
            arguments = json.loads(arguments)
    return {"id": identity, "name": name, "arguments": arguments}


def openai_chat(url: str, prompt: str) -> Answer:
    from openai import OpenAI

    client = OpenAI(base_url=url, api_key="none", max_retries=0)
    with client.chat.completions.stream(
        model="demo",
        messages=[{"role": "user", "content": prompt}],
        stream_options={"include_usage": True},
    ) as stream:
        for event in stream:
            # The first chunk, which tells the role, comes with an empty text.
            if event.type == "content.delta" and event.delta:
                say("text", text=event.delta)
        completion = stream.get_final_completion()
    choice, usage = completion.choices[0], completion.usage
    tools = [
        tool(call.id, call.function.name, call.function.arguments)
        for call in choice.message.tool_calls or []
    ]
    counts = (usage.prompt_tokens, usage.completion_tokens) if usage else None
    return answer(choice.message.content or "", tools, counts, choice.finish_reason)


def openai_responses(url: str, prompt: str) -> Answer:
    from openai import OpenAI

    failed = ""
    client = OpenAI(base_url=url, api_key="none", max_retries=0)
    with client.responses.stream(model="demo", input=prompt) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                say("text", text=event.delta)
            elif event.type == "response.failed" and event.response.error:
                failed = event.response.error.message
            elif event.type == "error":
                failed = event.message
        try:
            response = stream.get_final_response()
        except RuntimeError as error:
            # It says that there is no answer; why, its event has said.
            raise RuntimeError(f"{error} {failed}") from error
    tools = [
        tool(item.call_id, item.name, item.arguments)
        for item in response.output
        if item.type == "function_call"
    ]
    usage = response.usage
    counts = (usage.input_tokens, usage.output_tokens) if usage else None
    return answer(response.output_text, tools, counts, response.status)


def anthropic(url: str, prompt: str) -> Answer:
    from anthropic import Anthropic

    client = Anthropic(base_url=url, api_key="none", max_retries=0)
    with client.messages.stream(
        model="demo", max_tokens=1000, messages=[{"role": "user", "content": prompt}]
    ) as stream:
        for text in stream.text_stream:
            say("text", text=text)
        message = stream.get_final_message()
    text = "".join(block.text for block in message.content if block.type == "text")
    tools = [
        tool(block.id, block.name, block.input)
        for block in message.content
        if block.type == "tool_use"
    ]
    counts = message.usage.input_tokens, message.usage.output_tokens
    return answer(text, tools, counts, message.stop_reason)


SDKS: dict[str, Callable[[str, str], Answer]] = {
    "openai-chat": openai_chat,
    "openai-responses": openai_responses,
    "anthropic": anthropic,
}


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: no SDK, nor what it brings along, can connect past it."""
    if event in ("socket.connect", "socket.getaddrinfo"):
        where = arguments[1] if event == "socket.connect" else arguments[:1]
        HOSTS.add(str(where[0] if isinstance(where, tuple) else where))


def main(sdk: str) -> None:
    sys.addaudithook(watch)
    for line in sys.stdin:
        url, prompt = json.loads(line)
        try:
            say("answer", **SDKS[sdk](url, prompt))
        except Exception as error:
            say("error", name=type(error).__name__, message=str(error))
        say("end", hosts=sorted(HOSTS))


if __name__ == "__main__":
    main(*sys.argv[1:])
