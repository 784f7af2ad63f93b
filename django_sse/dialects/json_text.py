"""JSON from outside, parsed as strictly as in browsers, without characters no stream can carry."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from django_sse.dialects.cleaning import clean

# The escapes of surrogates and of NUL. A text without them needs no cleaning.
_ESCAPES: Final = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")

# The escape of NUL, but not an escaped backslash before the text u0000.
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def has_nul(text: str) -> bool:
    """Return whether a string or a name in the JSON contains a NUL."""
    return _NUL.search(text) is not None


def loads(text: str) -> Any:
    """Return the value of a JSON text, with lone surrogates and NULs replaced by U+FFFD.

    Raises ``ValueError`` if the text is not JSON, or has a number that is NaN or infinite.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return clean(value) if _ESCAPES.search(text) else value


def parse_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object in ``text``, ``{}`` for blank text, or None for anything else."""
    if not text.strip():
        return {}
    try:
        value = loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is out of range")
    return number
