"""Colours for Python source, from the standard library's tokenizer."""

from __future__ import annotations

import io
import keyword
import token as kinds
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

_STRINGS = {kinds.STRING} | {
    getattr(kinds, name)
    for name in ("FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END")
    if hasattr(kinds, name)
}


class Token(NamedTuple):
    """A piece of source and what it is: a CSS class, empty for plain text."""

    text: str
    kind: str


def highlighted(source: str) -> list[Token]:
    """``source`` in tokens whose texts, joined, are ``source`` without blanks at its ends."""
    return list(_tokens(source.strip("\n")))


def _tokens(source: str) -> Iterator[Token]:
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    at, previous = 0, ""
    for item in tokenize.generate_tokens(io.StringIO(source).readline):
        begin = starts[item.start[0] - 1] + item.start[1]
        end = starts[item.end[0] - 1] + item.end[1]
        if item.type in {kinds.INDENT, kinds.DEDENT, kinds.NEWLINE, kinds.NL, kinds.ENDMARKER}:
            continue
        if begin > at:
            yield Token(source[at:begin], "")
        yield Token(source[begin:end], _kind(item, previous))
        at, previous = end, item.string
    if at < len(source):
        yield Token(source[at:], "")


def _kind(item: tokenize.TokenInfo, previous: str) -> str:
    if item.type == tokenize.COMMENT:
        return "comment"
    if item.type in _STRINGS:
        return "string"
    if item.type == kinds.NUMBER:
        return "number"
    if item.type == kinds.NAME and keyword.iskeyword(item.string):
        return "keyword"
    if previous == "@" or item.string == "@":
        return "decorator"
    if previous == "def":
        return "function"
    return ""
