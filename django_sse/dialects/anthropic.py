"""Anthropic messages: content blocks, one after the other; ``event:`` repeats the data's ``type``.

Source: "Streaming messages" in Anthropic's API reference, ``RawMessageStreamEvent`` in its SDKs.
The SDKs ignore an event without ``event:``, and apply deltas to the newest block only, so two
blocks must never be open at once.
"""

from __future__ import annotations

from typing import ClassVar, Final

from django_sse.dialects.answer import STOPPED, Call, TextKind, VendorEncoder, new_id
from django_sse.dialects.base import AnswerDecoder, AnswerEncoder, Dialect
from django_sse.dialects.reading import (
    UNKNOWN_REASON,
    CallReader,
    Object,
    VendorDecoder,
    failure,
    get_count,
    get_key,
    get_object,
    get_text,
    text_of,
)
from django_sse.dialects.values import (
    FinishReason,
    Reasoning,
    Start,
    ToolResult,
    Usage,
    Value,
)
from django_sse.wire.encoder import dumps
from django_sse.wire.event import Event

_REASONS: Final[dict[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_MEANINGS: Final[dict[str, FinishReason]] = {
    **{word: reason for reason, word in _REASONS.items()},
    "model_context_window_exceeded": "length",
}
# input_tokens does not include the tokens that were read from or written to a cache.
_INPUT_COUNTS: Final = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)
# All members of a usage object: none is optional in the SDKs' types.
_NO_USAGE: Final[Object] = {
    "cache_creation": None,
    "cache_creation_input_tokens": None,
    "cache_read_input_tokens": None,
    "inference_geo": None,
    "input_tokens": 0,
    "output_tokens": 0,
    "output_tokens_details": None,
    "server_tool_use": None,
    "service_tier": None,
    "speed": None,
}
# How the blocks of text and reasoning begin.
_BLOCKS: Final[dict[TextKind, Object]] = {
    "text": {"type": "text", "text": "", "citations": None},
    "reasoning": {"type": "thinking", "thinking": "", "signature": ""},
}


class Anthropic(Dialect):
    name = "anthropic"

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return AnthropicEncoder()

    def decoder(self) -> AnswerDecoder:
        return AnthropicDecoder()


def _event(data: Object) -> Event:
    return Event(dumps(data), event=data["type"])


class AnthropicEncoder(VendorEncoder):
    dialect = Anthropic.name
    inexpressible: ClassVar[dict[type, str]] = {
        ToolResult: "a tool's result belongs in the next request"
    }

    def __init__(self) -> None:
        super().__init__()
        self._index = -1
        # The open block: "text", "reasoning", a call, or None.
        self._block: str | Call | None = None

    def _open(self, start: Start) -> list[Event]:
        message: Object = {
            "id": start.id or new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": start.model or "unknown",
            "content": [],
            "container": None,
            "diagnostics": None,
            "stop_details": None,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _NO_USAGE,
        }
        return [_event({"type": "message_start", "message": message})]

    def _start_block(self, block: str | Call, content: Object) -> list[Event]:
        closing = self._stop_block()
        self._index += 1
        self._block = block
        self._before = f'{{"type":"content_block_delta","index":{self._index},"delta":'
        start = {"type": "content_block_start", "index": self._index, "content_block": content}
        return [*closing, _event(start)]

    def _stop_block(self) -> list[Event]:
        if self._block is None:
            return []
        if isinstance(self._block, Call):
            # The SDKs would add a later piece of this call to the next block.
            self._block.closed = True
        self._block = None
        return [_event({"type": "content_block_stop", "index": self._index})]

    def _piece(self, type: str, name: str, text: str) -> Event:
        delta = f'{{"type":"{type}","{name}":{dumps(text)}}}'
        return Event(f"{self._before}{delta}}}", event="content_block_delta")

    def _write(self, kind: TextKind, text: str) -> list[Event]:
        opening = self._start_block(kind, _BLOCKS[kind]) if self._block != kind else []
        name = _BLOCKS[kind]["type"]
        return [*opening, self._piece(f"{name}_delta", name, text)]

    def _delta(self, call: Call, arguments: str, *, first: bool) -> list[Event]:
        opening = []
        if first:
            content = {
                "type": "tool_use",
                "id": call.id,
                "name": call.name,
                "input": {},
                "caller": {"type": "direct"},
            }
            opening = self._start_block(call, content)
        if not arguments:
            return opening
        return [*opening, self._piece("input_json_delta", "partial_json", arguments)]

    def _finish(self, reason: FinishReason) -> list[Event]:
        return self._stop_block()

    def _end(self, reason: FinishReason) -> list[Event]:
        counts = self._usage or Usage(0, 0)
        usage = {
            "cache_creation_input_tokens": None,
            "cache_read_input_tokens": None,
            "input_tokens": counts.input_tokens,
            "output_tokens": counts.output_tokens,
            "output_tokens_details": None,
            "server_tool_use": None,
        }
        delta = {
            "container": None,
            "stop_details": None,
            "stop_reason": _REASONS[reason],
            "stop_sequence": None,
        }
        return [
            _event({"type": "message_delta", "delta": delta, "usage": usage}),
            _event({"type": "message_stop"}),
        ]

    def failed(self, message: str, code: str = "error") -> list[Event]:
        error = {"type": "api_error", "message": message}
        return [_event({"type": "error", "error": error, "request_id": None})]

    def aborted(self) -> list[Event]:
        # The protocol has no event for this. A stop reason would make half an answer look complete.
        return self.failed(STOPPED, "aborted")


class AnthropicDecoder(VendorDecoder):
    """A reader of blocks of text, thinking and tool calls; it ignores all others."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = CallReader()
        self._counts: dict[str, int] = {}

    def _read(self, data: Object) -> list[Value]:
        match data.get("type"):
            case "message_start":
                return self._read_message(get_object(data, "message"))
            case "content_block_start":
                return self._read_block(get_key(data, "index"), get_object(data, "content_block"))
            case "content_block_delta":
                return self._read_delta(get_key(data, "index"), get_object(data, "delta"))
            case "message_delta":
                word = get_text(get_object(data, "delta"), "stop_reason")
                self._reason = _MEANINGS.get(word, UNKNOWN_REASON) if word else self._reason
                self._count(get_object(data, "usage"))
            case "message_stop":
                return self._last()
            case "error":
                failure(data.get("error"))
        return []

    def _read_message(self, message: Object) -> list[Value]:
        self._count(get_object(message, "usage"))
        if self._started:
            return []
        self._started = True
        return [Start(get_text(message, "id") or None, get_text(message, "model") or None)]

    def _count(self, counts: Object) -> None:
        # Each count is the sum so far; a count that is missing later keeps its value.
        for name in (*_INPUT_COUNTS, "output_tokens"):
            if (count := get_count(counts, name)) is not None:
                self._counts[name] = count
        given = sum(self._counts.get(name, 0) for name in _INPUT_COUNTS)
        made = self._counts.get("output_tokens", 0)
        # The protocol requires the counts, so servers that do not count send zeros.
        self._usage = Usage(given, made) if given or made else None

    def _read_block(self, index: int | str | None, block: Object) -> list[Value]:
        match block.get("type"):
            case "text":
                return [text] if (text := get_text(block, "text")) else []
            case "thinking":
                return [Reasoning(text)] if (text := get_text(block, "thinking")) else []
            case "tool_use":
                arguments = text_of(block.get("input") or None)
                id, name = get_text(block, "id"), get_text(block, "name")
                return [self._calls.start(index, id, name, arguments)]
        return []

    def _read_delta(self, index: int | str | None, delta: Object) -> list[Value]:
        match delta.get("type"):
            case "text_delta":
                return [text] if (text := get_text(delta, "text")) else []
            case "thinking_delta":
                return [Reasoning(text)] if (text := get_text(delta, "thinking")) else []
            case "input_json_delta" if index in self._calls:
                piece = get_text(delta, "partial_json")
                return self._calls.piece(index, piece)
        return []
