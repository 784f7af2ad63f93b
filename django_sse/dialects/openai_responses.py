"""OpenAI responses: output items and their parts, all with a ``sequence_number``.

Source: "Streaming events" in OpenAI's API reference, ``ResponseStreamEvent`` in its SDKs. Reasoning
is an item of ``reasoning_text``. The last event repeats the whole response.
"""

from __future__ import annotations

import time
from typing import Any, Final

from django_sse.dialects.answer import STOPPED, Call, TextKind, VendorEncoder, new_id
from django_sse.dialects.base import AnswerDecoder, AnswerEncoder, Dialect
from django_sse.dialects.reading import (
    CallReader,
    Object,
    VendorDecoder,
    failure,
    get_key,
    get_object,
    get_text,
    text_of,
    usage,
)
from django_sse.dialects.values import (
    FinishReason,
    Reasoning,
    Start,
    Value,
)
from django_sse.wire.encoder import dumps
from django_sse.wire.event import Event

_INCOMPLETE: Final[dict[FinishReason, str]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}
# For each kind of item, the type of its part, which also names the part's events.
_PARTS: Final = {"text": "output_text", "reasoning": "reasoning_text"}


class OpenAIResponses(Dialect):
    name = "openai-responses"

    def encoder(self, sent: int = 0) -> AnswerEncoder:
        return OpenAIResponsesEncoder(sent)

    def decoder(self) -> AnswerDecoder:
        return OpenAIResponsesDecoder()


class OpenAIResponsesEncoder(VendorEncoder):
    dialect = OpenAIResponses.name

    def __init__(self, sent: int = 0) -> None:
        super().__init__()
        self._number = sent
        # Another process sent the response: its id and its output are not known here.
        self._foreign = sent > 0
        self._output: list[Object] = []
        # The index of each call's item in the output.
        self._indexes: dict[str, int] = {}
        self._kind: str | None = None
        self._pieces: list[str] = []

    def _event(self, type: str, **fields: Any) -> Event:
        data = dumps({"type": type, **fields, "sequence_number": self._number})
        self._number += 1
        return Event(data, event=type)

    def _response(self, status: str, **fields: Any) -> Object:
        return {**self._head, "status": status, "output": [], **fields}

    def _open(self, start: Start) -> list[Event]:
        self._head: Object = {
            "id": start.id or new_id("resp_"),
            "object": "response",
            "created_at": int(time.time()),
            "model": start.model or "unknown",
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
        }
        response = self._response("in_progress")
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]

    def _add_item(self, item: Object) -> Event:
        self._output.append(item)
        index = len(self._output) - 1
        return self._event("response.output_item.added", output_index=index, item=item)

    def _item_done(self, index: int, **fields: Any) -> Event:
        item = self._output[index] = {**self._output[index], **fields}
        return self._event("response.output_item.done", output_index=index, item=item)

    def _open_item(self, kind: str) -> list[Event]:
        """Open an item with one part of text; it stays open until another kind of item begins."""
        closing = self._close_item("completed")
        item: Object = {"type": "reasoning", "id": new_id("rs_"), "summary": []}
        if kind == "text":
            item = {"type": "message", "id": new_id("msg_"), "role": "assistant", "content": []}
        item["status"] = "in_progress"
        self._kind = kind
        added = self._add_item(item)
        self._address = {
            "item_id": item["id"],
            "output_index": len(self._output) - 1,
            "content_index": 0,
        }
        part = self._event("response.content_part.added", **self._address, part=self._part(""))
        self._before = self._before_delta()
        return [*closing, added, part]

    def _before_delta(self) -> str:
        fields: Object = {"type": f"response.{_PARTS[self._kind or '']}.delta", **self._address}
        if self._kind == "text":
            fields["logprobs"] = []
        return dumps(fields)[:-1]

    def _part(self, text: str) -> Object:
        part: Object = {"type": _PARTS[self._kind or ""], "text": text}
        return {**part, "annotations": [], "logprobs": []} if self._kind == "text" else part

    def _close_item(self, status: str) -> list[Event]:
        if self._kind is None:
            return []
        text = "".join(self._pieces)
        part = self._part(text)
        logprobs: Object = {"logprobs": []} if self._kind == "text" else {}
        done = f"response.{_PARTS[self._kind]}.done"
        index = self._address["output_index"]
        self._kind = None
        self._pieces = []
        return [
            self._event(done, **self._address, text=text, **logprobs),
            self._event("response.content_part.done", **self._address, part=part),
            self._item_done(index, status=status, content=[part]),
        ]

    def _write(self, kind: TextKind, text: str) -> list[Event]:
        opening = self._open_item(kind) if self._kind != kind else []
        self._pieces.append(text)
        data = f'{self._before},"delta":{dumps(text)},"sequence_number":{self._number}}}'
        self._number += 1
        return [*opening, Event(data, event=f"response.{_PARTS[kind]}.delta")]

    def _delta(self, call: Call, arguments: str, *, first: bool) -> list[Event]:
        events = []
        if first:
            events = self._close_item("completed")
            self._indexes[call.id] = len(self._output)
            item = {
                "type": "function_call",
                "id": new_id("fc_"),
                "call_id": call.id,
                "name": call.name,
                "arguments": "",
                "status": "in_progress",
            }
            events.append(self._add_item(item))
        if arguments:
            index = self._indexes[call.id]
            events.append(
                self._event(
                    "response.function_call_arguments.delta",
                    item_id=self._output[index]["id"],
                    output_index=index,
                    delta=arguments,
                )
            )
        return events

    def _close_call(self, call: Call) -> list[Event]:
        index = self._indexes[call.id]
        arguments = "".join(call.pieces)
        return [
            self._event(
                "response.function_call_arguments.done",
                item_id=self._output[index]["id"],
                output_index=index,
                name=call.name,
                arguments=arguments,
            ),
            self._item_done(index, arguments=arguments, status="completed"),
        ]

    def _result(self, call: Call, content: Any) -> list[Event]:
        closing = self._close_item("completed")
        item = {
            "type": "function_call_output",
            "id": new_id("fco_"),
            "call_id": call.id,
            "output": text_of(content) if content is not None else "null",
            "status": "completed",
        }
        return [*closing, self._add_item(item), self._item_done(len(self._output) - 1)]

    def _finish(self, reason: FinishReason) -> list[Event]:
        return self._close_item("incomplete" if reason in _INCOMPLETE else "completed")

    def _end(self, reason: FinishReason) -> list[Event]:
        if reason not in _INCOMPLETE:
            response = self._response("completed", output=self._output, **self._counts())
            return [self._event("response.completed", response=response)]
        details = {"reason": _INCOMPLETE[reason]}
        response = self._response("incomplete", output=self._output, **self._counts())
        response["incomplete_details"] = details
        return [self._event("response.incomplete", response=response)]

    def _counts(self) -> Object:
        if self._usage is None:
            return {}
        given, made = self._usage.input_tokens, self._usage.output_tokens
        counts = {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": given + made,
        }
        return {"usage": counts}

    def failed(self, message: str, code: str = "error") -> list[Event]:
        if self._foreign:
            # The SDKs break on a response.failed whose id is not the created response's.
            return [self._event("error", code=code, message=message, param=None)]
        events = [*self._opening(), *self._close_item("incomplete")]
        # Incomplete calls are left out, so that no client executes them.
        whole = [item for item in self._output if item.get("status") != "in_progress"]
        error = {"code": "server_error", "message": message}
        response = self._response("failed", output=whole, error=error, **self._counts())
        return [*events, self._event("response.failed", response=response)]

    def aborted(self) -> list[Event]:
        # A response cannot report this: the codes of its errors are a fixed list.
        opening = [] if self._foreign else self._opening()
        return [*opening, self._event("error", code="aborted", message=STOPPED, param=None)]


class OpenAIResponsesDecoder(VendorDecoder):
    """A reader of text, refusals, reasoning and its summaries, function calls and their outputs."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = CallReader()
        self._given: set[int | str | None] = set()
        self._waiting: set[str] = set()

    def _read(self, data: Object) -> list[Value]:
        match data.get("type"):
            case "response.created" if not self._started:
                self._started = True
                response = get_object(data, "response")
                id, model = get_text(response, "id"), get_text(response, "model")
                return [Start(id or None, model or None)]
            case "response.output_text.delta" | "response.refusal.delta":
                return [text] if (text := get_text(data, "delta")) else []
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                return [Reasoning(text)] if (text := get_text(data, "delta")) else []
            case "response.function_call_arguments.delta":
                index = get_key(data, "output_index")
                self._given.add(index)
                return self._calls.piece(index, get_text(data, "delta"))
            case "response.output_item.added" | "response.output_item.done" as kind:
                item, index = get_object(data, "item"), get_key(data, "output_index")
                return self._read_item(index, item, kind.endswith("done"))
            case "response.completed" | "response.incomplete":
                return self._read_end(get_object(data, "response"))
            case "response.failed":
                failure(get_object(data, "response").get("error"))
            case "error":
                failure(data.get("error") or {"code": data.get("code")})
        return []

    def _read_item(self, index: int | str | None, item: Object, done: bool) -> list[Value]:
        id, arguments = get_text(item, "call_id"), get_text(item, "arguments")
        match item.get("type"):
            case "function_call" if index not in self._calls:
                self._waiting.add(id)
                if arguments:
                    self._given.add(index)
                return [self._calls.start(index, id, get_text(item, "name"), arguments)]
            case "function_call" if done and index not in self._given:
                self._given.add(index)
                return self._calls.piece(index, arguments)
            case "function_call_output" if done:
                self._waiting.discard(id)
                return self._calls.result(id, item.get("output"))
        return []

    def _read_end(self, response: Object) -> list[Value]:
        reason = get_text(get_object(response, "incomplete_details"), "reason")
        if reason == "content_filter":
            self._reason = "content_filter"
        elif reason or response.get("status") == "incomplete":
            self._reason = "length"
        else:
            self._reason = "tool_calls" if self._waiting else "stop"
        self._usage = usage(get_object(response, "usage"), "input_tokens", "output_tokens")
        return self._last()
