from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import django_sse
from tests import ROOT


def run(code: str) -> str:
    """What a fresh interpreter prints, without settings."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", django_sse.__all__)
def test_every_public_name_is_handed_on_by_its_module(name: str) -> None:
    value = getattr(django_sse, name)
    home = import_module(getattr(value, "__module__", None) or "django_sse.publishing")
    if not isinstance(value, django_sse.Event):
        assert getattr(home, name) is value
        assert home.__name__.startswith("django_sse.")


def test_importing_the_package_loads_nothing() -> None:
    loaded = run(
        "import sys; before = set(sys.modules); import django_sse;"
        "print(*sorted(set(sys.modules) - before))"
    ).split()
    assert "django_sse" in loaded
    assert [name for name in loaded if name.partition(".")[0] in ("django", "asgiref")] == []
    assert [name for name in loaded if name.startswith("django_sse.")] == []


def test_the_wire_needs_no_settings_and_no_django() -> None:
    out = run(
        "import sys, django_sse; print(django_sse.Event('x').data,"
        "[name for name in sys.modules if name.partition('.')[0] == 'django'])"
    )
    assert out == "x []\n"


def test_a_name_is_looked_up_once() -> None:
    assert (
        run(
            "import django_sse; before = 'Event' in vars(django_sse);"
            "django_sse.Event; print(before, 'Event' in vars(django_sse))"
        )
        == "False True\n"
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'django_sse' has no attribute 'publsh'"):
        django_sse.publsh  # noqa: B018
    with pytest.raises(ImportError):
        from django_sse import publsh  # noqa: F401


def test_dir_lists_the_public_names() -> None:
    assert set(django_sse.__all__) <= set(dir(django_sse))
    assert set(run("import django_sse; print(*dir(django_sse))").split()) >= set(django_sse.__all__)


def test_no_public_name_hides_a_module() -> None:
    modules = {path.stem for path in Path(django_sse.__path__[0]).iterdir()}
    assert not modules & set(django_sse.__all__)


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(inspect.getsource(django_sse))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == django_sse._HOMES
    assert set(seen) == set(django_sse.__all__)
    assert len(django_sse.__all__) == len(set(django_sse.__all__))
