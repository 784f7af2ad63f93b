"""The rules that every vendor's answer follows; each dialect defines how a value looks."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, TypeAlias

from django_sse.dialects.base import AnswerEncoder
from django_sse.dialects.json_text import has_nul, parse_object
from django_sse.dialects.values import (
    FINISH_REASONS,
    Finish,
    FinishReason,
    Reasoning,
    Start,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from django_sse.exceptions import InexpressibleValue
from django_sse.wire.encoder import dumps
from django_sse.wire.errors import DataNotSerializable
from django_sse.wire.event import Event, plain

__all__ = ["VendorEncoder"]

#: For the client, in dialects that have a text for a stopped answer.
STOPPED: Final = "The answer was stopped."

TextKind: TypeAlias = Literal["text", "reasoning"]


@dataclass(slots=True)
class Call:
    """A tool call of the answer so far; ``index`` is its number among the calls, from 0."""

    id: str
    name: str
    index: int
    pieces: list[str] = field(default_factory=list)
    # Whether its arguments are complete.
    closed: bool = False
    has_result: bool = False


def new_id(prefix: str) -> str:
    """Return a random id in the vendors' form, for example ``msg_`` and 24 hexadecimal digits."""
    return prefix + secrets.token_hex(12)


class VendorEncoder(AnswerEncoder):
    """An encoder that checks the values and their order; a subclass makes the events.

    A subclass defines ``_open`` to ``_end``. They are called in a valid order, with valid values.
    """

    #: The dialect's name, for errors.
    dialect: ClassVar[str]
    #: The kinds of values that the dialect cannot express, and why.
    inexpressible: ClassVar[dict[type, str]] = {}

    def __init__(self) -> None:
        self._opened = False
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._calls: dict[str, Call] = {}
        # The number of calls without a result.
        self._waiting = 0

    @abstractmethod
    def _open(self, start: Start) -> list[Event]:
        """Return the events that come before everything else."""

    @abstractmethod
    def _write(self, kind: TextKind, text: str) -> list[Event]:
        """Return the events of the next piece of the answer's text or reasoning."""

    @abstractmethod
    def _delta(self, call: Call, arguments: str, *, first: bool) -> list[Event]:
        """Return the events for a piece of a call's arguments; with ``first`` its start as well."""

    def _close_call(self, call: Call) -> list[Event]:
        """Return the events for the end of a call's arguments."""
        return []

    def _whole_call(self, call: Call, arguments: dict[str, Any]) -> list[Event]:
        text = dumps(arguments)
        call.pieces.append(text)
        return [*self._delta(call, text, first=True), *self._close_call(call)]

    def _result(self, call: Call, content: Any) -> list[Event]:
        raise NotImplementedError

    @abstractmethod
    def _finish(self, reason: FinishReason) -> list[Event]:
        """Return the events that end the text; all calls are closed, and none will follow."""

    @abstractmethod
    def _end(self, reason: FinishReason) -> list[Event]:
        """Return the end of a complete answer, after ``_finish``; ``self._usage`` is final."""

    def encode(self, value: Any) -> list[Event]:
        kind = str if isinstance(value, str) else type(value)
        rule = _RULES.get(kind)
        if rule is None or kind in self.inexpressible:
            raise self._refusal(value, self.inexpressible.get(kind, "the type is not supported"))
        if self._reason is not None and kind is not Usage:
            raise self._refusal(value, "after a Finish the answer is over", "Usage, or nothing")
        if kind is Start and self._opened:
            raise self._refusal(value, "a Start must come before everything else")
        fault, act = rule
        reason = fault(self, value)
        if reason is not None:
            raise self._refusal(value, reason)
        if self._opened:
            return act(self, value)
        if value == "":
            return []
        self._opened = True
        return [*self._open(value if kind is Start else Start()), *act(self, value)]

    def done(self) -> list[Event]:
        events = self._opening()
        reason = self._reason
        if reason is None:
            reason = "tool_calls" if self._waiting else "stop"
            events += self._finished(Finish(reason))
        return [*events, *self._end(reason)]

    def _opening(self) -> list[Event]:
        """Return the events that open the answer, unless it is open already."""
        if self._opened:
            return []
        self._opened = True
        return self._open(Start())

    def _refusal(
        self, value: object, reason: str, instead: str | None = None
    ) -> InexpressibleValue:
        if instead is None:
            known = [kind.__name__ for kind in _RULES if kind not in self.inexpressible]
            instead = f"{', '.join(known[:-1])} or {known[-1]}, each where it is allowed"
        return InexpressibleValue.of(self.dialect, value, reason, instead)

    def _nothing(self, value: Start) -> list[Event]:
        return []

    def _say(self, value: str) -> list[Event]:
        if not value:
            return []
        return self._write("text", value if type(value) is str else plain(value))

    def _think(self, value: Reasoning) -> list[Event]:
        return self._write("reasoning", value.text) if value.text else []

    def _tool_call(self, value: ToolCall) -> list[Event]:
        call = self._add_call(value.id, value.name, closed=True)
        given = value.arguments
        arguments = (parse_object(given) or {}) if isinstance(given, str) else dict(given)
        return self._whole_call(call, arguments)

    def _tool_call_delta(self, value: ToolCallDelta) -> list[Event]:
        call = self._calls.get(value.id)
        first = call is None
        if call is None:
            call = self._add_call(value.id, value.name or "")
        call.pieces.append(value.arguments)
        return self._delta(call, value.arguments, first=first)

    def _add_call(self, id: str, name: str, *, closed: bool = False) -> Call:
        self._waiting += 1
        call = self._calls[id] = Call(id, name, len(self._calls), closed=closed)
        return call

    def _tool_result(self, value: ToolResult) -> list[Event]:
        call = self._calls[value.id]
        call.has_result = True
        self._waiting -= 1
        return [*self._closing(call), *self._result(call, value.content)]

    def _add_usage(self, value: Usage) -> list[Event]:
        before = self._usage or Usage(0, 0)
        self._usage = Usage(
            before.input_tokens + value.input_tokens, before.output_tokens + value.output_tokens
        )
        return []

    def _finished(self, value: Finish) -> list[Event]:
        self._reason = value.reason
        closing = [event for call in self._calls.values() for event in self._closing(call)]
        return [*closing, *self._finish(value.reason)]

    def _closing(self, call: Call) -> list[Event]:
        if call.closed:
            return []
        call.closed = True
        return self._close_call(call)

    def _fault_of_delta(self, value: ToolCallDelta) -> str | None:
        fault = _fault_of_name(value.id, "id") or _fault_of_text(value.arguments)
        if fault is not None:
            return fault
        call = self._calls.get(value.id)
        if call is None:
            if value.name is None:
                return "the first piece of a call needs the tool's name"
            return _fault_of_name(value.name, "name")
        if value.name is not None:
            return "the tool's name must be on the first piece of a call only"
        return "the call is over: its arguments are complete" if call.closed else None

    def _fault_of_call(self, value: ToolCall) -> str | None:
        fault = _fault_of_name(value.id, "id") or _fault_of_name(value.name, "name")
        if fault is not None:
            return fault
        if value.id in self._calls:
            return "the answer already has a call with this id"
        return _fault_of_arguments(value.arguments)

    def _fault_of_result(self, value: ToolResult) -> str | None:
        fault = _fault_of_name(value.id, "id")
        if fault is not None:
            return fault
        call = self._calls.get(value.id)
        if call is None:
            return "the answer has no call with this id"
        if call.has_result:
            return "the call already has a result"
        return _fault_of_json(value.content)


def _fault_of_text(text: object) -> str | None:
    if not isinstance(text, str):
        return f"its text must be a str, not {type(text).__name__}"
    if "\0" in text:
        return "its text has a NUL, which not every client and database accepts"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "its text has a lone surrogate, which UTF-8 cannot encode"
    return None


def _fault_of_name(text: object, field: str) -> str | None:
    if text == "":
        return f"its {field} is empty"
    fault = _fault_of_text(text)
    return None if fault is None else fault.replace("text", field)


def _fault_of_json(value: object) -> str | None:
    if isinstance(value, str):
        return _fault_of_text(value)
    try:
        text = dumps(value)
    except DataNotSerializable as error:
        return str(error).partition(". ")[0]
    return "it has a NUL, which not every client and database accepts" if has_nul(text) else None


def _fault_of_arguments(arguments: object) -> str | None:
    fault = None
    if isinstance(arguments, str):
        fault = _fault_of_text(arguments)
        arguments = parse_object(arguments)
    if not isinstance(arguments, dict):
        return fault or "its arguments must be a JSON object"
    return fault or _fault_of_json(arguments)


def _fault_of_start(value: Start) -> str | None:
    for field_name in ("id", "model", "thread"):
        text = getattr(value, field_name)
        fault = None if text is None else _fault_of_name(text, field_name)
        if fault is not None:
            return fault
    return None


def _fault_of_usage(value: Usage) -> str | None:
    for count in (value.input_tokens, value.output_tokens):
        if type(count) is not int or count < 0:
            return "token counts must be ints of at least 0"
    return None


def _fault_of_finish(value: Finish) -> str | None:
    if value.reason in FINISH_REASONS:
        return None
    return f"its reason must be one of {', '.join(FINISH_REASONS)}"


_Fault = Callable[[Any, Any], "str | None"]
_Act = Callable[[Any, Any], "list[Event]"]
# For each kind of value, the function that checks it and the function that makes its events.
_RULES: Final[dict[type, tuple[_Fault, _Act]]] = {
    str: (lambda _, value: _fault_of_text(value), VendorEncoder._say),
    Start: (lambda _, value: _fault_of_start(value), VendorEncoder._nothing),
    Reasoning: (lambda _, value: _fault_of_text(value.text), VendorEncoder._think),
    ToolCall: (VendorEncoder._fault_of_call, VendorEncoder._tool_call),
    ToolCallDelta: (VendorEncoder._fault_of_delta, VendorEncoder._tool_call_delta),
    ToolResult: (VendorEncoder._fault_of_result, VendorEncoder._tool_result),
    Usage: (lambda _, value: _fault_of_usage(value), VendorEncoder._add_usage),
    Finish: (lambda _, value: _fault_of_finish(value), VendorEncoder._finished),
}
