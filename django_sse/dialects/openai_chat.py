"""OpenAI chat completions: ``data: {chunk}`` without an event type, ``data: [DONE]`` at the end.

Source: the streaming part of OpenAI's API reference, ``ChatCompletionChunk`` in its SDKs. Reasoning
is ``delta.reasoning_content``, an extension by DeepSeek, vLLM and others.
"""

from __future__ import annotations

import time
from typing import ClassVar, Final

from django_sse.dialects.answer import STOPPED, Call, TextKind, VendorEncoder, new_id
from django_sse.dialects.base import AnswerDecoder, AnswerEncoder, Dialect
from django_sse.dialects.reading import (
    UNKNOWN_REASON,
    CallReader,
    Object,
    VendorDecoder,
    failure,
    get_key,
    get_object,
    get_objects,
    get_text,
    usage,
)
from django_sse.dialects.values import (
    FinishReason,
    Reasoning,
    Start,
    ToolResult,
    Value,
)
from django_sse.wire.encoder import dumps
from django_sse.wire.event import Event

_DONE: Final = "[DONE]"
_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class OpenAIChat(Dialect):
    name = "openai-chat"

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return OpenAIChatEncoder()

    def decoder(self) -> AnswerDecoder:
        return OpenAIChatDecoder()


class OpenAIChatEncoder(VendorEncoder):
    dialect = OpenAIChat.name
    inexpressible: ClassVar[dict[type, str]] = {
        ToolResult: "a tool's result belongs in the next request"
    }

    def _open(self, start: Start) -> list[Event]:
        chunk = dumps(
            {
                "id": start.id or new_id("chatcmpl-"),
                "object": "chat.completion.chunk",
                "created": int(time.time()),
                "model": start.model or "unknown",
            }
        )
        # All chunks of an answer begin with the same text.
        self._head = chunk[:-1]
        self._before = f'{self._head},"choices":[{{"index":0,"delta":'
        return [self._choice('{"role":"assistant","content":""}')]

    def _choice(self, delta: str, reason: str = "null") -> Event:
        return Event(f'{self._before}{delta},"logprobs":null,"finish_reason":{reason}}}]}}')

    def _write(self, kind: TextKind, text: str) -> list[Event]:
        name = "content" if kind == "text" else "reasoning_content"
        return [self._choice(f'{{"{name}":{dumps(text)}}}')]

    def _delta(self, call: Call, arguments: str, *, first: bool) -> list[Event]:
        piece: Object = {"index": call.index}
        if first:
            piece |= {"id": call.id, "type": "function"}
            piece["function"] = {"name": call.name, "arguments": arguments}
        else:
            piece["function"] = {"arguments": arguments}
        return [self._choice(dumps({"tool_calls": [piece]}))]

    def _finish(self, reason: FinishReason) -> list[Event]:
        return [self._choice("{}", dumps(reason))]

    def _end(self, reason: FinishReason) -> list[Event]:
        if self._usage is None:
            return [Event(_DONE)]
        given, made = self._usage.input_tokens, self._usage.output_tokens
        counts = {
            "prompt_tokens": given,
            "completion_tokens": made,
            "total_tokens": given + made,
        }
        return [Event(f'{self._head},"choices":[],"usage":{dumps(counts)}}}'), Event(_DONE)]

    def failed(self, message: str, code: str = "error") -> list[Event]:
        error = {"message": message, "type": "server_error", "param": None, "code": code}
        return [Event(dumps({"error": error}))]

    def aborted(self) -> list[Event]:
        # The protocol has no chunk for this. A finish reason would make half an answer look
        # complete.
        return self.failed(STOPPED, "aborted")


class OpenAIChatDecoder(VendorDecoder):
    """A reader of chunks of OpenAI and compatible servers; of several choices, only the first."""

    sentinel = _DONE

    def __init__(self) -> None:
        super().__init__()
        self._calls = CallReader()

    def _read(self, data: Object) -> list[Value]:
        if data.get("error"):
            failure(data["error"])
        values: list[Value] = []
        id, model = get_text(data, "id"), get_text(data, "model")
        # Azure sends a chunk about the prompt first, without id and model.
        if not self._started and (id or get_objects(data, "choices")):
            self._started = True
            values.append(Start(id or None, model or None))
        # Some servers send usage in every chunk; the last one has the sum.
        counts = usage(get_object(data, "usage"), "prompt_tokens", "completion_tokens")
        self._usage = counts or self._usage
        for choice in get_objects(data, "choices"):
            if choice.get("index") in (0, None):
                values += self._read_choice(choice)
        return values

    def _read_choice(self, choice: Object) -> list[Value]:
        values: list[Value] = []
        delta = get_object(choice, "delta")
        thought = get_text(delta, "reasoning_content") or get_text(delta, "reasoning")
        if thought:
            values.append(Reasoning(thought))
        # A refusal takes the place of the content.
        values += [said for name in ("content", "refusal") if (said := get_text(delta, name))]
        for piece in get_objects(delta, "tool_calls"):
            values += self._read_call(piece)
        reason = get_text(choice, "finish_reason")
        if reason:
            self._reason = _REASONS.get(reason, UNKNOWN_REASON)
        return values

    def _read_call(self, piece: Object) -> list[Value]:
        id, function = get_text(piece, "id"), get_object(piece, "function")
        name, arguments = get_text(function, "name"), get_text(function, "arguments")
        # Servers that send each call in one piece omit the index, or use the same one for all.
        key = get_key(piece, "index")
        key = id if key is None else key
        if key in self._calls and id in ("", self._calls.id(key)):
            return self._calls.piece(key, arguments)
        return [self._calls.start(key, id or new_id("call_"), name, arguments)]
