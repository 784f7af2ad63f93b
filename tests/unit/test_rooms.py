"""The rooms of the suite: unit tests need no server, browser or service."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Servers, services and proxies are started through these modules of `tests`.
ROOMS = "integration|soak|servers|services|proxy|node_clients"
FORBIDDEN = re.compile(rf"^\s*(?:from|import) tests(?:\.| import )(?:{ROOMS})\b", re.MULTILINE)


@pytest.mark.parametrize("path", sorted(HERE.rglob("*.py")), ids=lambda p: str(p.relative_to(HERE)))
def test_a_unit_test_imports_nothing_of_the_other_rooms(path: Path) -> None:
    assert not FORBIDDEN.search(path.read_text())
