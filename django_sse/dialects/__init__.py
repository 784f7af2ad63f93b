"""Vendors' conventions for answers as event streams. A dialect is imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from django_sse.dialects.base import AnswerDecoder, AnswerEncoder, Dialect
from django_sse.dialects.values import (
    Finish,
    Reasoning,
    Start,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    Value,
)

__all__ = [
    "DIALECTS",
    "AnswerDecoder",
    "AnswerEncoder",
    "Dialect",
    "Finish",
    "Reasoning",
    "Start",
    "ToolCall",
    "ToolCallDelta",
    "ToolResult",
    "Usage",
    "Value",
    "get_dialect",
]

#: The module and class for each name.
DIALECTS: Final = {
    "plain": ("plain", "Plain"),
    "openai-chat": ("openai_chat", "OpenAIChat"),
    "openai-responses": ("openai_responses", "OpenAIResponses"),
    "anthropic": ("anthropic", "Anthropic"),
    "ai-sdk": ("ai_sdk", "AISDK"),
    "ag-ui": ("ag_ui", "AGUI"),
}


def get_dialect(name: str | Dialect) -> Dialect:
    """Return the dialect called ``name``, or ``name`` itself if it is a ``Dialect``.

    Raises ``ValueError`` if no dialect has this name.
    """
    if isinstance(name, Dialect):
        return name
    if name not in DIALECTS:
        known = ", ".join(repr(known) for known in DIALECTS)
        raise ValueError(
            f"there is no dialect {name!r}: use one of {known}, or an instance of your own "
            "subclass of django_sse.dialects.Dialect"
        )
    module, class_name = DIALECTS[name]
    cls: type[Dialect] = getattr(import_module(f"{__name__}.{module}"), class_name)
    return cls()
