"""What leads the processes of a test to one log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.many.stores import STORES, Store, prepared
from tests.requirements import require


@pytest.fixture(params=STORES, ids=lambda store: store.name)
def env(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of all processes: one new database, one notifier. A test that names stores
    itself has those."""
    store: Store = request.param
    require(*store.needs)
    with prepared(store, tmp_path) as env:
        yield env
