from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests import options


@pytest.fixture
def configure(settings: Any, request: pytest.FixtureRequest) -> Iterator[options.Overrides]:
    """Changes settings and constants."""
    for change in options.configure(settings, {}, request):
        change()
        yield change
