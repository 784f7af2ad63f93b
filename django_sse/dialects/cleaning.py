"""Replacing the characters that some streams and databases cannot carry."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from operator import is_not
from typing import Any, Final

from django_sse.dialects.values import Reasoning, Start, ToolCall, ToolCallDelta, ToolResult
from django_sse.wire.event import Event

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_QUESTION_MARK: Final = ord("?")
# Two halves of one character: UTF-16 joins them.
_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_WITH_TEXT: Final = (Event, Reasoning, Start, ToolCall, ToolCallDelta, ToolResult)


def clean(value: Any) -> Any:
    """Return ``value`` with each NUL and lone surrogate in its texts replaced by U+FFFD.

    UTF-8 has no form for a lone surrogate, and PostgreSQL stores no NUL. Texts inside lists, dicts,
    a dialect's values and an ``Event`` are replaced, too. Without such a character the result is
    ``value`` itself.
    """
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, list | tuple):
        items = [clean(item) for item in value]
        return items if _differ(items, value) else value
    if isinstance(value, dict):
        names = [clean(name) for name in value]
        items = [clean(item) for item in value.values()]
        same = not _differ(names, value) and not _differ(items, value.values())
        return value if same else dict(zip(names, items, strict=True))
    if isinstance(value, _WITH_TEXT):
        texts = {each.name: getattr(value, each.name) for each in fields(value)}
        cleaned = clean(texts)
        return value if cleaned is texts else replace(value, **cleaned)
    return value


def _clean_text(text: str) -> str:
    cleaned = text.replace("\0", _REPLACEMENT)
    if not text.isascii():
        # To encode surrogates as "?" is 50 times as fast as to replace them when decoding. The
        # text's own question marks are NUL meanwhile.
        encoded = cleaned.replace("?", "\0").encode("utf-8", "replace")
        if _QUESTION_MARK not in encoded:
            return text if cleaned == text else cleaned
        if encoded.count(b"??") and _PAIR.search(text):
            return cleaned.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return encoded.decode().replace("?", _REPLACEMENT).replace("\0", "?")
    return text if cleaned == text else cleaned


def _differ(items: Iterable[Any], others: Iterable[Any]) -> bool:
    return any(map(is_not, items, others))
