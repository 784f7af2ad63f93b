"""What is public is in docs/api.md; documentation and demo use nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tests import ROOT

_SECTIONS = re.split(r"^## ", (ROOT / "docs" / "api.md").read_text(), flags=re.MULTILINE)[1:]
PUBLIC = {
    section.split("`")[1]: re.findall(
        r"`(\w+)`", " ".join(re.findall(r"^\| (.+?) \|", section, re.MULTILINE))
    )
    for section in _SECTIONS
}
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SOURCES = sorted(ROOT.glob("demo_project/**/*.py"))


@pytest.mark.parametrize("module", PUBLIC)
def test_the_page_lists_what_a_module_exports(module: str) -> None:
    names = PUBLIC[module]
    found = import_module(module)
    assert sorted(names) == sorted(found.__all__)
    assert len(set(names)) == len(names)
    for name in names:
        assert hasattr(found, name)


def blocks(page: Path) -> Iterator[str]:
    """The examples of a page, an example a block."""
    yield from re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def foreign(source: str) -> list[str]:
    """What ``source`` imports of this library's that is not public."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found += [name for name in names if name.partition(".")[0] == "django_sse"]
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                known = alias.name in PUBLIC.get(node.module, ()) or name in PUBLIC
                if node.module.partition(".")[0] == "django_sse" and not known:
                    found.append(name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_import_only_what_is_public(page: Path) -> None:
    assert [name for block in blocks(page) for name in foreign(block)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_demo_imports_only_what_is_public(path: Path) -> None:
    assert foreign(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from django_sse import publish\nfrom django_sse.signals import stream_failed", []),
        ("from django_sse.servers import signals", []),
        ("from django_sse.hub.hub import get_hub", ["django_sse.hub.hub.get_hub"]),
        ("def view():\n    from django_sse import conf", ["django_sse.conf"]),
        ("import django_sse.hub", ["django_sse.hub"]),
        ("import django\nfrom django.db import models", []),
    ],
)
def test_an_import_of_something_internal_is_found(source: str, found: list[str]) -> None:
    assert foreign(source) == found
