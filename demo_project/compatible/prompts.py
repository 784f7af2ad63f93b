"""What a request asks, in the form of each vendor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest

from ..errors import BadInput, submitted, text_field

MAX_PROMPT = 8000


def prompt_of(request: HttpRequest, source: str = "messages") -> str:
    """The newest text in the body's ``source``: a text, or a list of messages.

    A message is ``{"content": ...}`` (OpenAI, Anthropic, AG-UI) or ``{"parts": [...]}`` (AI SDK);
    its content is a text or a list of parts ``{"text": ...}``. Raises ``BadInput``.
    """
    fields = submitted(request)
    # AG-UI and the AI SDK know nothing else than streams; the others have to ask for one.
    if fields.get("stream", True) is not True:
        raise BadInput('"stream" must be true: the demo only streams.')
    return text_field({source: newest(fields.get(source))}, source, MAX_PROMPT)


def newest(messages: object) -> object:
    """The text of the last message; None where there is none."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return messages
    last: Any = messages[-1] if messages else None
    if not isinstance(last, dict):
        return None
    content = last.get("content", last.get("parts"))
    return joined(content) if isinstance(content, list) else content


def joined(parts: list[Any]) -> str:
    """The texts of a message's parts; what is no text (an image, say) is left out."""
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))
