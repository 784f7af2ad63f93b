"""JSON from outside, parsed as strictly as in browsers, without characters no stream can carry.

``json.loads`` cannot be interrupted, and no other thread runs meanwhile. For the same number of
bytes it needs 100 times as long for empty lists as for one string. So the text is measured first,
with a few searches that are as fast as for the string, and refused if it has too many values.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from math import isfinite
from typing import Any, Final, NoReturn

from django_sse.dialects.cleaning import clean

#: Levels of arrays and objects. Python's own limit depends on its version and on the caller.
MAX_DEPTH: Final = 128
#: Values in one text, counting all arrays, objects and their members. Parsing them takes a few ms,
#: and 15 ms if every name and text in them has to be cleaned.
MAX_VALUES: Final = 10_000
#: Digits in a row outside of strings. ``int`` takes time quadratic in them.
MAX_DIGITS: Final = 400

# A shorter text parses quickly, whatever is in it.
_SHORT: Final = 4096
_DIGITS_AS_0: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER: Final = b"0" * (MAX_DIGITS + 1)
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in _STEPS)

# The escapes of surrogates and of NUL. A text without them needs no cleaning.
_ESCAPES: Final = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")


class JSONTooLarge(ValueError):
    """The JSON is nested too deeply, or has too many values or digits."""


def has_nul(text: str) -> bool:
    """Return whether a string or a name in the JSON contains a NUL."""
    # Without the escaped backslashes, every backslash begins an escape.
    return "\\u0000" in text.replace("\\\\", "")


def loads(text: str) -> Any:
    """Return the value of a JSON text, with lone surrogates and NULs replaced by U+FFFD.

    Raises ``ValueError`` if the text is not JSON, or has a number that is NaN or infinite, and
    ``JSONTooLarge`` if parsing it could take too long.
    """
    _check_size(text)
    value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    return clean(value) if _ESCAPES.search(text) else value


def _check_size(text: str) -> None:
    openings = text.count("[") + text.count("{")
    if openings <= MAX_DEPTH and len(text) <= _SHORT:
        return
    # Without the escaped quotes, every second piece between quotes is outside of strings.
    text = text.replace("\\\\", "").replace('\\"', "")
    # A value has at most two strings: its name and itself.
    if text.count('"') > 4 * MAX_VALUES:
        raise JSONTooLarge(f"more than {MAX_VALUES} values")
    outside = "".join(text.split('"')[::2]).encode(errors="replace")
    openings = outside.count(b"[") + outside.count(b"{")
    # Each value is the first of its array or object, or comes after a comma.
    if openings + outside.count(b",") >= MAX_VALUES:
        raise JSONTooLarge(f"more than {MAX_VALUES} values")
    if openings > MAX_DEPTH and _depth(outside, openings) > MAX_DEPTH:
        raise JSONTooLarge(f"more than {MAX_DEPTH} levels")
    if _LONG_NUMBER in outside.translate(_DIGITS_AS_0):
        raise JSONTooLarge(f"a number of more than {MAX_DIGITS} digits")


def _depth(outside: bytes, openings: int) -> int:
    """Return the deepest level of a JSON text, which is given without its strings."""
    brackets = outside.translate(None, _OTHERS)
    # Brackets that close nothing are not JSON. No more than these need to be looked at.
    return max(accumulate(map(_STEPS.__getitem__, brackets[: 2 * openings])), default=0)


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
    if not isfinite(number):
        raise ValueError("a number is out of range")
    return number
