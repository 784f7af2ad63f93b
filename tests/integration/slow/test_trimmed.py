"""A client that did not read while its events were trimmed is told so, once."""

from __future__ import annotations

import json

import pytest

from tests.integration.servers.client import get
from tests.integration.slow import ways
from tests.integration.slow.traffic import (
    COUNT,
    PATH,
    SECONDS,
    TIMEOUT,
    a_client_that_never_reads,
    fast_clients,
    finished,
    flood,
)
from tests.integration.slow.ways import Way, serving

pytestmark = pytest.mark.timeout(300 + 10 * SECONDS)


@ways.over([*ways.HANDOFF, *ways.HTTP2, Way("gunicorn-gthread", handoff=False)])
def test_whose_events_were_trimmed_is_told_once_and_goes_on_live(way: Way) -> None:
    with serving(way) as reached, a_client_that_never_reads(reached) as slow:
        with fast_clients(reached, PATH, 1) as fast:
            reading = fast.begin(COUNT)
            flood(reached.server, "a", COUNT)
            finished(reading, TIMEOUT)
            assert get(reached.server, "/slow/trim/a/?count=10") == (200, b"trimmed")
        types: list[str] = []
        numbers: list[int] = []
        flooded = False
        while not flooded or numbers[-1:] != [-1]:
            event = slow.next()
            types.append(event.type)
            if event.type == "stream-reset":
                assert json.loads(event.data)["reason"] == "trimmed"
                assert numbers == list(range(len(numbers)))
                assert len(numbers) < COUNT - 10
                get(reached.server, "/publish/a/", method="POST", data=b"-1 0 live")
                flooded = True
            else:
                numbers.append(int(event.data.split(" ", 1)[0]))
        assert types.count("stream-reset") == 1
        assert numbers[-2] < COUNT - 10
