"""AG-UI, the agent user interaction protocol: ``data:`` JSON without an event type or ``[DONE]``.

Source: the protocol's schema, ``Event`` in ``@ag-ui/core``. Its client fails on ``[DONE]`` and
reports every field that the protocol does not define, even a null one.
"""

from __future__ import annotations

from typing import Any, Final, get_args

from django_sse.dialects.answer import STOPPED, Call, TextKind, VendorEncoder, new_id
from django_sse.dialects.base import AnswerDecoder, AnswerEncoder, Dialect
from django_sse.dialects.reading import (
    CallReader,
    Object,
    VendorDecoder,
    get_object,
    get_objects,
    get_text,
    text_of,
    usage,
)
from django_sse.dialects.values import (
    FinishReason,
    Reasoning,
    Start,
    Usage,
    Value,
)
from django_sse.exceptions import UpstreamError
from django_sse.wire.encoder import dumps
from django_sse.wire.event import Event

# The prefix of the event types for each kind of message.
_PREFIXES: Final = {"text": "TEXT_MESSAGE", "reasoning": "REASONING_MESSAGE"}
# The protocol has no field for the finish reason, but allows any key in the metadata.
_REASON_KEY: Final = "finishReason"


class AGUI(Dialect):
    name = "ag-ui"

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return AGUIEncoder(sent)

    def decoder(self) -> AnswerDecoder:
        return AGUIDecoder()


def _event(type: str, **fields: Any) -> Event:
    return Event(dumps({"type": type, **fields}))


class AGUIEncoder(VendorEncoder):
    dialect = AGUI.name

    def __init__(self, sent: int = 0) -> None:
        super().__init__()
        # The kind of the open message and its id.
        self._kind: str | None = None
        self._message = ""
        # The message that a call belongs to.
        self._parent: str | None = None
        self._model: str | None = None

    def _open(self, start: Start) -> list[Event]:
        self._model = start.model
        self._run = {
            "threadId": start.thread or new_id("thread_"),
            "runId": start.id or new_id("run_"),
        }
        return [_event("RUN_STARTED", **self._run)]

    def _open_message(self, kind: str) -> list[Event]:
        closing = self._close_message()
        self._kind = kind
        self._message = new_id("msg_")
        self._before = (
            f'{{"type":"{_PREFIXES[kind]}_CONTENT","messageId":"{self._message}","delta":'
        )
        if kind == "text":
            self._parent = self._message
            start = _event("TEXT_MESSAGE_START", messageId=self._message, role="assistant")
            return [*closing, start]
        return [
            *closing,
            _event("REASONING_START", messageId=self._message),
            _event("REASONING_MESSAGE_START", messageId=self._message, role="reasoning"),
        ]

    def _close_message(self) -> list[Event]:
        if self._kind is None:
            return []
        kind, self._kind = self._kind, None
        events = [_event(f"{_PREFIXES[kind]}_END", messageId=self._message)]
        if kind == "reasoning":
            events.append(_event("REASONING_END", messageId=self._message))
        return events

    def _write(self, kind: TextKind, text: str) -> list[Event]:
        opening = self._open_message(kind) if self._kind != kind else []
        return [*opening, Event(f"{self._before}{dumps(text)}}}")]

    def _delta(self, call: Call, arguments: str, *, first: bool) -> list[Event]:
        events = []
        if first:
            parent = {} if self._parent is None else {"parentMessageId": self._parent}
            start = _event("TOOL_CALL_START", toolCallId=call.id, toolCallName=call.name, **parent)
            events = [*self._close_message(), start]
        if arguments:
            events.append(_event("TOOL_CALL_ARGS", toolCallId=call.id, delta=arguments))
        return events

    def _close_call(self, call: Call) -> list[Event]:
        return [_event("TOOL_CALL_END", toolCallId=call.id)]

    def _result(self, call: Call, content: Any) -> list[Event]:
        # Text and calls after a result belong to a new message.
        self._parent = None
        result = _event(
            "TOOL_CALL_RESULT",
            messageId=new_id("msg_"),
            toolCallId=call.id,
            content=text_of(content) if content is not None else "null",
            role="tool",
        )
        return [*self._close_message(), result]

    def _finish(self, reason: FinishReason) -> list[Event]:
        return self._close_message()

    def _end(self, reason: FinishReason) -> list[Event]:
        outcome: Object = {"type": "success"}
        waiting = [call.id for call in self._calls.values() if not call.has_result]
        if waiting:
            outcome["pendingToolCallIds"] = waiting
        fields = {**self._run, "outcome": outcome, **self._counts()}
        return [_event("RUN_FINISHED", **fields, metadata={_REASON_KEY: reason})]

    def _counts(self) -> Object:
        if self._usage is None:
            return {}
        given, made = self._usage.input_tokens, self._usage.output_tokens
        counts: Object = {} if self._model is None else {"model": self._model}
        counts |= {"inputTokens": given, "outputTokens": made, "totalTokens": given + made}
        return {"usage": [counts]}

    def failed(self, message: str, code: str = "error") -> list[Event]:
        error = _event("RUN_ERROR", message=message, code=code, **self._counts())
        return [*self._close_message(), error]

    def aborted(self) -> list[Event]:
        if not self._opened:
            # Only another process knows the run's id and which messages are open.
            return self.failed(STOPPED, "aborted")
        if not all(call.closed for call in self._calls.values()):
            # A run must not finish with an open call, and closing it would present it as complete.
            return self.failed(STOPPED, "aborted")
        fields = {**self._run, "outcome": {"type": "cancelled"}, **self._counts()}
        return [*self._close_message(), _event("RUN_FINISHED", **fields)]


class AGUIDecoder(VendorDecoder):
    """A reader of text, reasoning, tool calls and results; it ignores state and activities."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = CallReader()
        self._waiting: set[str] = set()
        self._newest = ""

    def _read(self, data: Object) -> list[Value]:
        match data.get("type"):
            case "RUN_STARTED" if not self._started:
                self._started = True
                run, thread = get_text(data, "runId"), get_text(data, "threadId")
                return [Start(run or None, thread=thread or None)]
            case "TEXT_MESSAGE_CONTENT" | "TEXT_MESSAGE_CHUNK":
                return [text] if (text := get_text(data, "delta")) else []
            case (
                "REASONING_MESSAGE_CONTENT"
                | "REASONING_MESSAGE_CHUNK"
                | "THINKING_TEXT_MESSAGE_CONTENT"
            ):
                return [Reasoning(text)] if (text := get_text(data, "delta")) else []
            case "TOOL_CALL_START" | "TOOL_CALL_ARGS" | "TOOL_CALL_CHUNK":
                return self._read_call(data)
            case "TOOL_CALL_RESULT":
                return self._read_result(get_text(data, "toolCallId"), data.get("content"))
            case "RUN_FINISHED":
                return self._read_end(data)
            case "RUN_ERROR":
                raise UpstreamError(data.get("code"))
        return []

    def _read_call(self, data: Object) -> list[Value]:
        # Of a call's chunks only the first must have its id.
        id = self._newest = get_text(data, "toolCallId") or self._newest
        delta = get_text(data, "delta")
        if id in self._calls:
            return self._calls.piece(id, delta)
        self._waiting.add(id)
        return [self._calls.start(id, id, get_text(data, "toolCallName"), delta)]

    def _read_result(self, id: str, content: object) -> list[Value]:
        self._waiting.discard(id)
        return self._calls.result(id, content)

    def _read_end(self, data: Object) -> list[Value]:
        outcome = get_object(data, "outcome").get("type")
        if outcome == "cancelled":
            raise UpstreamError("aborted")
        word = get_object(data, "metadata").get(_REASON_KEY)
        known = {str(reason): reason for reason in get_args(FinishReason)}
        self._reason = known.get(word) if isinstance(word, str) else None
        if self._reason is None:
            self._reason = "tool_calls" if self._waiting else "stop"
        counts = [usage(each, "inputTokens", "outputTokens") for each in get_objects(data, "usage")]
        given = [count for count in counts if count is not None]
        if given:
            self._usage = Usage(
                sum(count.input_tokens for count in given),
                sum(count.output_tokens for count in given),
            )
        return self._last()
