"""A COMMIT that is carried out after its client has lost the connection, or never."""

from __future__ import annotations

import pytest

from tests.commits import CommitProxy
from tests.integration.databases.late import Trouble, commits, runs_in

__all__ = ["commits"]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # The other process has nothing to tell this one with.
    pytest.mark.options(SAFETY_INTERVAL=0.2),
]


async def test_each_token_is_there_once_and_each_run_has_one_end(
    commits: CommitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_sse.runs.channel._RETRY", 0.02)
    shares = (0.2, 0.1, 0.1)
    trouble = Trouble(runs=12, tokens=20, latest=0.3, pause=0.05, shares=shares)
    found = await runs_in(trouble, commits)
    assert found.fates["made late"] > 1, found
    assert found.states["done"] >= 8, found
    assert found.states["done"] + found.states["aborted"] == 12
