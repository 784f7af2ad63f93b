"""A client that never widens its window (HTTP/2) slows nobody, either."""

from __future__ import annotations

import pytest

from tests.integration.slow import ways
from tests.integration.slow.asked import check
from tests.integration.slow.traffic import SECONDS
from tests.integration.slow.ways import Way

pytestmark = pytest.mark.timeout(300 + 10 * SECONDS)


@ways.over([*ways.HTTP2, *(way for way in ways.IN_DJANGO if way.protocol != "1.1")])
def test_that_never_widens_its_window(way: Way) -> None:
    check(way, f"{way} window", narrow=True)
