"""Imports in `django_sse` run one way; read from the source, so a lazy import counts as well."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from tests import ROOT

PACKAGE = "django_sse"

# From the ground up: a module may import what stands before it, and its own layer. Each name is
# the first one below the package, be it a module or a folder.
LAYERS = (
    "wire",
    "exceptions",
    # Text and JSON, like the wire: whoever streams or relays may speak one.
    "dialects",
    "signals",
    "constants",
    "escaping",
    "conf",
    "sqlite",
    "internal_channels",
    "models",
    # What a process has once: everything above may register with it.
    "process",
    "log",
    "notifiers",
    "servers",
    # Who a client is, and what it may take: streams are counted.
    "trust",
    "streams",
    "hub",
    "calls",
    "slow_lane",
    "group_commit",
    "publishing",
    "runs",
    "http",
    # How a stream goes over a server without Django, and the application that takes it there.
    "handoff",
    "asgi",
    "views",
    "urls",
    "relay",
    "admin",
    "checks",
    # ready() loads the checks.
    "apps",
    "testing",
    "management",
    "templatetags",
    "migrations",
)
# Layers that keep to less than all that lies below them.
NARROW: dict[str, frozenset[str]] = {"relay": frozenset({"wire", "exceptions", "dialects"})}

# The wire is text and numbers. What is not named here needs a reason to be added.
WIRE_MAY_IMPORT = frozenset(
    {
        "__future__",
        "abc",
        "bisect",
        "codecs",
        "collections",
        "contextlib",
        "dataclasses",
        "enum",
        "functools",
        "importlib",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "secrets",
        "string",
        "types",
        "typing",
        "unicodedata",
    }
)
# What was published knows nothing of who reads it, or how.
LOG_MAY_NOT_IMPORT = ("asyncio", "django.http", "django.views", "django.urls")


def imported_names(source: str, package: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of every import, at any depth, under TYPE_CHECKING too.

    `from a import b` gives `a.b`: `b` may be a module. `package`: where relative imports start.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = list(package[: len(package) - node.level + 1]) if node.level else []
            base = [*parents, *([node.module] if node.module else [])]
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What `module` (`django_sse.hub.topic`, say) imports against the order, a line each."""
    parts = module.split(".")
    layer = parts[1] if len(parts) > 1 else None
    if layer is None:
        # The package's own __init__ hands every public name on, lazily.
        return []
    if layer not in LAYERS:
        return [f"{module}: {layer!r} is in no layer; give it its place in LAYERS"]
    allowed = NARROW.get(layer) or frozenset(LAYERS[: LAYERS.index(layer)])
    package = parts if is_package else parts[:-1]
    return [
        f"{module}:{line}: {layer} must not import {name}"
        for line, name in imported_names(source, package)
        if not _is_allowed(name.split("."), allowed | {layer})
    ]


def _is_allowed(name: Sequence[str], allowed: frozenset[str]) -> bool:
    if name[0] != PACKAGE:
        return True
    # `import django_sse` and `from django_sse import Event` reach everything through the lazy
    # package: within the house a name is imported from where it is defined.
    return len(name) > 1 and name[1] in allowed


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name and path of each module in the package."""
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def sources_below(layer: str) -> Iterator[tuple[str, list[str]]]:
    """Module name and absolute imports of each module of one layer."""
    for module, path in modules():
        if module.split(".")[1:2] == [layer]:
            package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
            yield module, [name for _, name in imported_names(path.read_text(), package)]


def test_every_module_imports_only_what_lies_below_it() -> None:
    found = [
        line
        for module, path in modules()
        for line in violations(module, path.read_text(), is_package=path.stem == "__init__")
    ]
    assert found == []


def test_the_reading_finds_the_package() -> None:
    assert {"django_sse.wire", "django_sse.wire.event"} <= {module for module, _ in modules()}


def impure(names: Sequence[str]) -> list[str]:
    """The imports that the wire must not have."""
    ours = f"{PACKAGE}.wire."
    return [n for n in names if n.split(".")[0] not in WIRE_MAY_IMPORT and not n.startswith(ours)]


def knows_its_readers(names: Sequence[str]) -> list[str]:
    """The imports that the log must not have."""
    return [
        name
        for name in names
        if any(name == banned or name.startswith(f"{banned}.") for banned in LOG_MAY_NOT_IMPORT)
    ]


def test_wire_imports_nothing_but_pure_parts_of_the_standard_library() -> None:
    found = {module: impure(names) for module, names in sources_below("wire")}
    assert found
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source", ["import django", "from django.conf import settings", "import socket", "import os"]
)
def test_django_and_io_in_the_wire_are_found(source: str) -> None:
    assert impure([name for _, name in imported_names(source, [])])


def test_log_knows_no_event_loop_and_no_http() -> None:
    found = {module: knows_its_readers(names) for module, names in sources_below("log")}
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source", ["import asyncio", "from asyncio import Event", "from django.http import Http404"]
)
def test_an_event_loop_or_http_in_the_log_is_found(source: str) -> None:
    assert knows_its_readers([name for _, name in imported_names(source, [])])


def test_wire_loads_without_django_and_without_io() -> None:
    code = "import sys, django_sse.wire; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {"django", "asyncio", "socket", "selectors"}.isdisjoint(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("django_sse.log.model", "from django_sse.hub import Hub"),
        ("django_sse.log.model", "from django_sse import hub"),
        ("django_sse.log.model", "import django_sse.hub.topic"),
        ("django_sse.log.model", "from ..hub import Hub"),
        ("django_sse.log.model", "from .. import hub"),
        ("django_sse.conf", "from . import models"),
        ("django_sse.conf", "from .models import Channel"),
        ("django_sse.wire.event", "from django_sse import conf"),
        ("django_sse.wire.event", "from django_sse.exceptions import StreamError"),
        ("django_sse.relay", "from django_sse import conf"),
        ("django_sse.hub.hub", "from django_sse import Event"),
        ("django_sse.hub.hub", "import django_sse"),
        ("django_sse.http", "def view():\n    from django_sse import views"),
        (
            "django_sse.http",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from django_sse import views",
        ),
    ],
)
def test_an_import_against_the_order_is_found(module: str, source: str) -> None:
    assert len(violations(module, dedent(source))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("django_sse.hub.hub", "from django_sse.log import get_log\nimport django_sse.conf"),
        ("django_sse.hub.hub", "from . import topic\nfrom .topic import Topic"),
        ("django_sse.hub.hub", "from .. import conf, log\nfrom ..wire.event import Event"),
        ("django_sse.streams.generator", "from django_sse.process import stopping"),
        ("django_sse.relay", "from django_sse.wire import Decoder"),
        ("django_sse.views", "import asyncio, django.http\nfrom django_sse_other import x"),
        ("django_sse", "from django_sse.views import ChannelStreamView"),
    ],
)
def test_an_import_with_the_order_passes(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_relative_imports_of_a_folder_start_in_the_folder() -> None:
    source = "from .topic import Topic\nfrom ..views import ChannelStreamView"
    found = violations("django_sse.hub", source, is_package=True)
    assert found == ["django_sse.hub:2: hub must not import django_sse.views.ChannelStreamView"]


def test_a_module_that_is_in_no_layer_is_found() -> None:
    assert "in no layer" in violations("django_sse.helpers", "")[0]
