"""Settings and private constants of the library, given by their own names without their groups."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields, is_dataclass
from typing import Any, Protocol

import pytest

from django_sse.conf import NAME, Settings
from django_sse.constants import NAMES as CONSTANTS
from django_sse.constants import overridden

_GROUPS = {
    each.name: group.name
    for group in fields(Settings)
    if is_dataclass(group.default) and group.name != "NOTIFIER"
    for each in fields(group.default)
}


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """The ``DJANGO_SSE`` of ``options``, without the constants among them."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if group := _GROUPS.get(name):
            found.setdefault(group, {})[name] = value
        elif name not in CONSTANTS:
            found[name] = value
    return found


def constants_in(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in CONSTANTS}


def environ(**options: Any) -> dict[str, str]:
    """The environment of a server or command with ``options``."""
    return {
        "DJANGO_SSE_TEST_OPTIONS": json.dumps(nested(options)),
        "DJANGO_SSE_CONSTANTS": json.dumps(constants_in(options)),
    }


class Overrides(Protocol):
    """Change options or constants by name until the test ends."""

    def __call__(self, **values: Any) -> None: ...


def constants() -> Iterator[Overrides]:
    """Overrides of the constants, each on top of those before."""
    with ExitStack() as stack:
        yield lambda **values: stack.enter_context(overridden(**values))


def configure(
    settings: Any, base: Mapping[str, Any], request: pytest.FixtureRequest
) -> Iterator[Overrides]:
    """Overrides of settings and constants, each in the place of those before.

    They are on top of ``base`` and of what the test asks for with ``@pytest.mark.options(...)``.
    """
    marked = [mark.kwargs for mark in request.node.iter_markers("options")]
    with ExitStack() as stack:

        def change(**values: Any) -> None:
            stack.close()
            options = dict(ChainMap(values, *marked, dict(base)))
            setattr(settings, NAME, nested(options))
            stack.enter_context(overridden(**constants_in(options)))

        yield change
