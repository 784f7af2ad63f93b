"""What a generator yields under a dialect, and what a decoder gives back; text is a plain ``str``.

An answer is an optional :class:`Start`, then any number of texts, reasoning, tool calls and tool
results, then a :class:`Finish`. :class:`Usage` may come anywhere after the start. An error is
raised (``StreamError``), not yielded.
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
    """What is known of the answer before its first word; only as its first value.

    :param id: the answer's id; without one it gets a random one.
    :param model: who answers.
    :param thread: the conversation that it belongs to.

    What the dialect has no place for is left out.
    """

    id: str | None = None
    model: str | None = None
    thread: str | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thinks before, or between, what it says."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A whole call of a tool.

    :param id: the call's id, unique in the answer.
    :param arguments: a JSON object, as it is or as text.
    """

    id: str
    name: str
    arguments: str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call of a tool.

    :param arguments: the next piece of the JSON text of the arguments; may be empty.
    :param name: the tool's name, on the first piece of an id and only there.
    """

    id: str
    arguments: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back to the model.

    :param id: the call's id.
    :param content: text or JSON.
    """

    id: str
    content: Any


@dataclass(frozen=True, slots=True)
class Usage:
    """What the answer cost, in tokens; several in one answer are added up."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Why the answer ends; only :class:`Usage` may follow.

    Without one an answer ends with ``"tool_calls"`` if it leaves calls without a result, else with
    ``"stop"``.
    """

    reason: FinishReason


Value: TypeAlias = str | Start | Reasoning | ToolCall | ToolCallDelta | ToolResult | Usage | Finish
