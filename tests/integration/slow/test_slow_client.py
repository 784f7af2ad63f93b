"""A client that does not read slows nobody, costs bounded memory, and loses nothing."""

from __future__ import annotations

import pytest

from tests.integration.slow import ways
from tests.integration.slow.asked import check
from tests.integration.slow.traffic import SECONDS
from tests.integration.slow.ways import Way

pytestmark = pytest.mark.timeout(300 + 10 * SECONDS)


@ways.over([*ways.HANDOFF, *ways.IN_DJANGO, *ways.HTTP2])
def test_that_stops_reading_its_socket(way: Way) -> None:
    check(way, f"{way} socket")
