"""The library's own channels, such as those of runs, and their names.

The names begin with U+001F. Everything public refuses control characters in a name, so a view
cannot make such a name from a client's input.
"""

from __future__ import annotations

from typing import Final

_MARK: Final = "\x1f"
_SHOWN: Final = "\N{SYMBOL FOR UNIT SEPARATOR}"


def internal_channel(kind: str, id: object) -> str:
    """Return the name of an internal channel."""
    return f"{_MARK}{kind}:{id}"


def is_internal(name: str) -> bool:
    """Return whether ``name`` is the name of an internal channel."""
    return name.startswith(_MARK)


def shown(name: str) -> str:
    """Return the name of any channel as text that people can read."""
    return _SHOWN + name.removeprefix(_MARK) if is_internal(name) else name


def as_typed(text: str) -> str:
    """Return the name that ``text`` shows, so that an operator can copy what ``shown`` returned."""
    return _MARK + text.removeprefix(_SHOWN) if text.startswith(_SHOWN) else text
