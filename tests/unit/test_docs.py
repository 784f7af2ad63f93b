"""The documentation says what the code does."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest
from django.utils.module_loading import import_string

import django_sse
from django_sse import notifiers
from django_sse.conf import Settings
from tests import ROOT
from tests.requirements import GROUPS, REQUIREMENTS

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
EVERYTHING = "\n".join(page.read_text() for page in PAGES)


def test_every_setting_is_in_the_table_with_its_default():
    page = (ROOT / "docs" / "settings.md").read_text()
    first, *sections = re.split(r"^## ", page, flags=re.MULTILINE)
    settings = Settings()
    expected = {"": settings} | {
        field.name: value
        for field in fields(settings)
        if is_dataclass(value := getattr(settings, field.name))
    }
    found = {section.split("`")[1]: section for section in sections if section[0] == "`"}
    assert found.keys() | {""} == expected.keys()
    for name, section in {"": first, **found}.items():
        rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `(.+?)` \|", section, re.MULTILINE))
        values = {
            field.name: getattr(expected[name], field.name) for field in fields(expected[name])
        }
        assert rows == {key: repr(each) for key, each in values.items() if not is_dataclass(each)}


def test_every_ceiling_is_in_the_threat_model_with_its_default():
    page = (ROOT / "docs" / "threat-model.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+(?:\[\"[A-Z_]+\"\])?)` \| `(.+?)` \|", page, re.MULTILINE)
    settings = Settings()
    limits = {each.name: getattr(settings.LIMITS, each.name) for each in fields(settings.LIMITS)}
    assert dict(rows).items() >= {name: repr(default) for name, default in limits.items()}.items()
    for name, default in rows:
        if name in limits:
            found = limits[name]
        else:
            group, item = name.rstrip('"]').split('["')
            found = getattr(getattr(settings, group), item)
        assert default == repr(found), name


def test_every_option_of_a_notifier_is_in_the_table_with_its_default():
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = set(re.findall(r"^\| `([a-z_]+)` \| `(\w+)` \| `(.+?)` \|", page, re.MULTILINE))
    assert rows == {
        (name, option, repr(parameter.default))
        for name, path in notifiers._NAMES.items()
        for option, parameter in inspect.signature(import_string(path)).parameters.items()
    }


def test_every_difference_from_event_source_is_in_the_table():
    page = (ROOT / "docs" / "client.md").read_text()
    table = page.partition("| difference | why |")[2].partition("\n\n")[0]
    tests = (ROOT / "tests" / "integration" / "client" / "standard.test.mjs").read_text()
    rows = re.findall(r"^\| (?!---)(.+?) \| .+ \|$", table, re.MULTILINE)
    assert rows == re.findall(r'^difference\("(.+)", ', tests, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(django_sse.__all__)))
def test_every_public_name_is_explained(name: str):
    if name.startswith("a") and name[1:] in django_sse.__all__:
        name = name[1:]
    # Neither the data `[DONE]`, nor the `last_event_id` of a query.
    called = r"\(" if inspect.isfunction(getattr(django_sse, name)) else r"(?!\])"
    assert re.search(rf"\b(?<!\[){name}\b{called}", EVERYTHING)


def test_every_requirement_of_a_test_is_in_the_table():
    table = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    named = re.findall(r"`([\w-]+)`", " ".join(rows))
    resolved = {each for name in named for each in GROUPS.get(name, (name,))}
    assert resolved == set(REQUIREMENTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def resolve(expression: str) -> object:
    """The object that an expression such as `django_sse.hub.hub.get_hub().topics` names."""
    found: object = import_module("django_sse")
    path = "django_sse"
    for step in expression.split(".")[1:]:
        name = step.removesuffix("()")
        path = f"{path}.{name}"
        if not hasattr(found, name):
            import_module(path)
        found = getattr(found, name)
        if name != step:
            found = found()  # type: ignore[operator]
    return found


# Names in the text, but not the ids of checks (django_sse.W001).
NAMED = sorted(set(re.findall(r"`(django_sse(?:\.(?![WE]\d)\w+(?:\(\))?)+)`", EVERYTHING)))


@pytest.mark.parametrize("expression", NAMED)
async def test_names_in_the_text_are_there(expression: str):
    resolve(expression)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_parse(page: Path):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        ast.parse(block)
