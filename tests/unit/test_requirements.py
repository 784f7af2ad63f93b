"""Nothing is skipped in silence: what is demanded and missing fails."""

from __future__ import annotations

import pytest

from tests.conftest import pytest_runtest_setup
from tests.requirements import GROUPS, REQUIREMENTS, Requirement, demanded, is_present


@pytest.mark.parametrize("demand", ["", "gold", "all"])
def test_what_is_missing_skips_its_test_and_what_is_demanded_fails_it(
    demand: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REQUIREMENTS, "gold", Requirement(lambda: False, "`dig`"))
    monkeypatch.setitem(GROUPS, "all", ("gold",))
    monkeypatch.setenv("DJANGO_SSE_REQUIRE", demand)
    is_present.cache_clear()
    request.node.add_marker(pytest.mark.needs("gold"))
    outcome = pytest.fail.Exception if demand else pytest.skip.Exception
    with pytest.raises(outcome, match="needs gold: `dig`"):
        pytest_runtest_setup(request.node)


def test_an_unknown_name_in_the_demand_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SSE_REQUIRE", "browsr")
    with pytest.raises(pytest.UsageError, match=r"'browsr'; known are: .*browser"):
        demanded()
