from __future__ import annotations

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


def test_the_needs_marker_skips_or_fails_its_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("from tests.conftest import pytest_runtest_setup")
    pytester.makepyfile(
        """
        import pytest
        from tests.requirements import REQUIREMENTS, Requirement

        REQUIREMENTS["gold"] = Requirement(lambda: False, "`dig`")

        @pytest.mark.needs("gold")
        def test_mine():
            raise AssertionError("must not run")
        """
    )
    options = ("-p", "no:django", "-o", "markers=needs(*names): what it needs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(requirements.ROOT))
        patch.delenv("DJANGO_SSE_REQUIRE", raising=False)
        result = pytester.runpytest_subprocess("-rs", *options)
        result.assert_outcomes(skipped=1)
        result.stdout.fnmatch_lines(["*needs gold: `dig`*"])
