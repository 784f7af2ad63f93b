"""Five hundred runs whose COMMITs come up to five seconds late. Another process ends some."""

from __future__ import annotations

import pytest

from tests.commits import CommitProxy
from tests.integration.databases.conftest import configure, database, live, migrated
from tests.integration.databases.late import Trouble, commits, runs_in

__all__ = ["commits", "configure", "database", "live", "migrated"]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # The other process has nothing to tell this one with.
    pytest.mark.options(SAFETY_INTERVAL=0.2),
]

RUNS = 500


@pytest.mark.timeout(900)
async def test_each_token_is_there_once_and_each_run_has_one_end(commits: CommitProxy) -> None:
    found = await runs_in(Trouble(runs=RUNS, tokens=60, latest=5.0, pause=1.0), commits)
    print(found)
    assert min(found.fates.values()) > 1, found
    assert found.states["done"] + found.states["aborted"] == RUNS
    assert found.states["aborted"] > 1, found
