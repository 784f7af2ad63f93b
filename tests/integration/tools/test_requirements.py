from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import requirements
from tests.requirements import GROUPS, REQUIREMENTS, Requirement, demanded, is_present, require


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> str:
    """A requirement that is never met."""
    name = "a-thing-nobody-has"
    monkeypatch.setitem(REQUIREMENTS, name, Requirement(lambda: False, "`make a-thing`"))
    is_present.cache_clear()
    return name


def test_what_is_missing_skips_with_a_line_that_says_what_to_install(
    absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DJANGO_SSE_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="make a-thing"):
        require(absent)


def test_what_is_missing_and_demanded_fails(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SSE_REQUIRE", f"node, {absent}")
    with pytest.raises(pytest.fail.Exception, match="demanded by DJANGO_SSE_REQUIRE"):
        require(absent)


def test_what_is_there_neither_skips_nor_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REQUIREMENTS, "air", Requirement(lambda: True, "nothing"))
    monkeypatch.setenv("DJANGO_SSE_REQUIRE", "air")
    require("air")
    assert is_present("air")


def test_groups_stand_for_their_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SSE_REQUIRE", "servers,node")
    assert demanded() == {*requirements.SERVERS, "node", "node-clients"}
    monkeypatch.setenv("DJANGO_SSE_REQUIRE", "all")
    assert demanded() == set(REQUIREMENTS)
    monkeypatch.setenv("DJANGO_SSE_REQUIRE", "")
    assert demanded() == frozenset()


@pytest.mark.parametrize("name", ["postgres", "mariadb", "redis"])
def test_a_service_that_does_not_answer_counts_as_missing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.databases.answers", lambda url: False)
    assert not REQUIREMENTS[name].present()
    assert f"DJANGO_SSE_TEST_{name.upper()}_URL" in REQUIREMENTS[name].install


def test_every_member_of_a_group_is_known() -> None:
    assert {name for members in GROUPS.values() for name in members} <= set(REQUIREMENTS)


def test_an_unknown_name_in_the_demand_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SSE_REQUIRE", "browsr")
    with pytest.raises(pytest.UsageError, match=r"'browsr'; known are: .*browser"):
        demanded()


def test_a_named_chromium_that_is_not_there_counts_as_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DJANGO_SSE_CHROMIUM", "/nowhere/chromium")
    assert requirements.chromium() is None


MODULE = """
import pytest
from tests.requirements import GROUPS, REQUIREMENTS, Requirement

REQUIREMENTS["gold"] = Requirement(lambda: False, "`dig`")
GROUPS["all"] = ("gold",)

@pytest.fixture
def never():
    raise AssertionError("the requirement comes before the fixtures")

@pytest.mark.needs("gold")
def test_mine(never):
    raise AssertionError("must not run")
"""


@pytest.mark.parametrize(
    ("demand", "outcome"), [("", "1 skipped"), ("all", "1 error")], ids=["skips", "fails"]
)
def test_the_needs_marker_decides_before_the_test_and_its_fixtures_run(
    demand: str, outcome: str, tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_setup\n")
    (tmp_path / "test_mine.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = needs(*names): what is needed\n")
    environment = {"PYTHONPATH": str(requirements.ROOT), "DJANGO_SSE_REQUIRE": demand}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rsE", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout
    assert "needs gold: `dig`" in done.stdout
    assert "AssertionError" not in done.stdout
