"""The values that a generator yields under a dialect and a decoder returns; text is a ``str``.

An answer is an optional ``Start``, then any number of texts, reasoning, tool calls and tool
results, then a ``Finish``. ``Usage`` may come anywhere after the start. An error is raised
(``StreamError``), not yielded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]
FINISH_REASONS: Final[tuple[FinishReason, ...]] = (
    "stop",
    "length",
    "tool_calls",
    "content_filter",
)


@dataclass(frozen=True, slots=True)
class Start:
    """The head of an answer; allowed only as its first value.

    ``id`` is the answer's id, random if it is None. ``model`` is the model's name. ``thread`` is
    the id of the conversation. The dialect leaves out any field that it does not define.
    """

    id: str | None = None
    model: str | None = None
    thread: str | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the model's reasoning, before or between pieces of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete tool call.

    ``id`` is the call's id, unique in the answer. ``arguments`` is a JSON object, as a mapping or
    as text.
    """

    id: str
    name: str
    arguments: str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call.

    ``arguments`` is the next piece of the arguments' JSON text, possibly empty. ``name`` is the
    tool's name, on the first piece with this ``id`` and only there.
    """

    id: str
    arguments: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a tool call. ``id`` is the call's id; ``content`` is text or JSON."""

    id: str
    content: Any


@dataclass(frozen=True, slots=True)
class Usage:
    """The number of tokens used; several in one answer are added up."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The reason why the answer ends; only ``Usage`` may follow.

    An answer without a ``Finish`` ends with ``"tool_calls"`` if it leaves calls without a result,
    else with ``"stop"``.
    """

    reason: FinishReason


Value: TypeAlias = str | Start | Reasoning | ToolCall | ToolCallDelta | ToolResult | Usage | Finish
