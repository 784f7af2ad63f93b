"""The AI SDK's UI message stream: parts as ``data:`` JSON, then ``data: [DONE]``.

Source: "Stream protocol" in the AI SDK's documentation, ``UIMessageChunk`` in its package ``ai``.
The protocol has no part for usage; it is sent as ``messageMetadata.usage`` of the last part, and
``useChat`` exposes it as ``message.metadata.usage``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

from django_sse.dialects.answer import Call, TextKind, VendorEncoder, new_id
from django_sse.dialects.base import AnswerDecoder, AnswerEncoder, Dialect
from django_sse.dialects.json_text import parse_object
from django_sse.dialects.reading import (
    UNKNOWN_REASON,
    CallReader,
    Object,
    VendorDecoder,
    get_text,
    text_of,
    usage,
)
from django_sse.dialects.values import (
    FinishReason,
    Reasoning,
    Start,
    ToolCall,
    Value,
)
from django_sse.exceptions import UpstreamError
from django_sse.wire.encoder import dumps
from django_sse.wire.errors import DataNotSerializable
from django_sse.wire.event import Event

_DONE: Final = "[DONE]"


class AISDK(Dialect):
    name = "ai-sdk"
    headers: ClassVar[Mapping[str, str]] = MappingProxyType({"x-vercel-ai-ui-message-stream": "v1"})

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return AISDKEncoder()

    def decoder(self) -> AnswerDecoder:
        return AISDKDecoder()


def _event(data: Object) -> Event:
    return Event(dumps(data))


class AISDKEncoder(VendorEncoder):
    dialect = AISDK.name

    def __init__(self) -> None:
        super().__init__()
        # The kind of the open part, "text" or "reasoning", and the number of parts so far.
        self._kind: str | None = None
        self._count = 0
        self._results = False

    def _open(self, start: Start) -> list[Event]:
        opening = {"type": "start", "messageId": start.id or new_id("msg_")}
        return [_event(opening), _event({"type": "start-step"})]

    def _close_part(self) -> list[Event]:
        if self._kind is None:
            return []
        kind, self._kind = self._kind, None
        return [_event({"type": f"{kind}-end", "id": str(self._count)})]

    def _next_step(self, waiting: int) -> list[Event]:
        """Start a new step, if ``waiting``, the calls of this step without a result, is 0.

        A step is one request to the model. When a front end asks again, it sends the results after
        everything else in their step.
        """
        if not self._results or waiting:
            return []
        self._results = False
        steps = [_event({"type": "finish-step"}), _event({"type": "start-step"})]
        return [*self._close_part(), *steps]

    def _write(self, kind: TextKind, text: str) -> list[Event]:
        opening = []
        if self._kind != kind:
            opening = [*self._next_step(self._waiting), *self._close_part()]
            self._count += 1
            self._kind = kind
            opening.append(_event({"type": f"{kind}-start", "id": str(self._count)}))
            self._before = f'{{"type":"{kind}-delta","id":"{self._count}","delta":'
        return [*opening, Event(f"{self._before}{dumps(text)}}}")]

    def _delta(self, call: Call, arguments: str, *, first: bool) -> list[Event]:
        events = []
        if first:
            events = [*self._step_before_call(), *self._close_part()]
            start = {"type": "tool-input-start", "toolCallId": call.id, "toolName": call.name}
            events.append(_event(start))
        if arguments:
            piece = {
                "type": "tool-input-delta",
                "toolCallId": call.id,
                "inputTextDelta": arguments,
            }
            events.append(_event(piece))
        return events

    def _step_before_call(self) -> list[Event]:
        # The new call is already counted.
        return self._next_step(self._waiting - 1)

    def _whole_call(self, call: Call, arguments: dict[str, Any]) -> list[Event]:
        opening = [*self._step_before_call(), *self._close_part()]
        return [*opening, self._available(call, arguments)]

    def _available(self, call: Call, arguments: dict[str, Any]) -> Event:
        part = {"type": "tool-input-available", "toolCallId": call.id, "toolName": call.name}
        return _event({**part, "input": arguments})

    def _close_call(self, call: Call) -> list[Event]:
        text = "".join(call.pieces)
        arguments = parse_object(text)
        if arguments is not None:
            try:
                return [self._available(call, arguments)]
            except DataNotSerializable:
                pass
        part = {"type": "tool-input-error", "toolCallId": call.id, "toolName": call.name}
        return [
            _event({**part, "input": text, "errorText": "The arguments are not a JSON object."})
        ]

    def _result(self, call: Call, content: Any) -> list[Event]:
        self._results = True
        part = {"type": "tool-output-available", "toolCallId": call.id, "output": content}
        return [*self._close_part(), _event(part)]

    def _finish(self, reason: FinishReason) -> list[Event]:
        return [*self._close_part(), _event({"type": "finish-step"})]

    def _end(self, reason: FinishReason) -> list[Event]:
        part: Object = {"type": "finish", "finishReason": reason.replace("_", "-")}
        if self._usage is not None:
            given, made = self._usage.input_tokens, self._usage.output_tokens
            counts = {"inputTokens": given, "outputTokens": made, "totalTokens": given + made}
            part["messageMetadata"] = {"usage": counts}
        return [_event(part), Event(_DONE)]

    def failed(self, message: str, code: str = "error") -> list[Event]:
        error = {"type": "error", "errorText": message}
        return [*self._close_part(), _event(error), Event(_DONE)]

    def aborted(self) -> list[Event]:
        return [*self._close_part(), _event({"type": "abort"}), Event(_DONE)]


class AISDKDecoder(VendorDecoder):
    """A reader of text, reasoning, tool calls and results; it ignores files, sources and data."""

    sentinel = _DONE

    def __init__(self) -> None:
        super().__init__()
        self._calls = CallReader()
        self._given: set[str] = set()

    def _read(self, data: Object) -> list[Value]:
        match data.get("type"):
            case "start" if not self._started:
                self._started = True
                return [Start(get_text(data, "messageId") or None)]
            case "text-delta":
                return [text] if (text := get_text(data, "delta")) else []
            case "reasoning-delta":
                return [Reasoning(text)] if (text := get_text(data, "delta")) else []
            case "finish":
                self._read_finish(data)
            case "error":
                raise UpstreamError
            case "abort":
                raise UpstreamError("aborted")
            case str(kind) if kind.startswith("tool-"):
                return self._read_tool(kind, data)
        return []

    def _read_finish(self, data: Object) -> None:
        word = get_text(data, "finishReason")
        known: dict[str, FinishReason] = {
            "length": "length",
            "tool-calls": "tool_calls",
            "content-filter": "content_filter",
        }
        self._reason = known.get(word, UNKNOWN_REASON)
        metadata = data.get("messageMetadata")
        counts = metadata.get("usage") if isinstance(metadata, dict) else None
        if isinstance(counts, dict):
            self._usage = usage(counts, "inputTokens", "outputTokens")

    def _read_tool(self, kind: str, data: Object) -> list[Value]:
        id = get_text(data, "toolCallId")
        match kind:
            case "tool-input-start":
                return [self._calls.start(id, id, get_text(data, "toolName"), "")]
            case "tool-input-delta":
                self._given.add(id)
                return self._calls.piece(id, get_text(data, "inputTextDelta"))
            case "tool-input-available" | "tool-input-error":
                return self._read_input(id, data)
            case "tool-output-available" if data.get("preliminary") is not True:
                return self._calls.result(id, data.get("output"))
            case "tool-output-error":
                return self._calls.result(id, get_text(data, "errorText"))
        return []

    def _read_input(self, id: str, data: Object) -> list[Value]:
        given = data.get("input")
        if id in self._calls:
            # The call was streamed before, or only announced.
            return [] if id in self._given else self._calls.piece(id, text_of(given or None))
        call = self._calls.start(id, id, get_text(data, "toolName"), text_of(given))
        return [ToolCall(id, call.name or "", given)] if isinstance(given, dict) else [call]
