"""What is asked of a server with one client that reads nothing and others that do."""

from __future__ import annotations

import json
import os
from itertools import chain
from pathlib import Path
from typing import Any

from tests.integration.slow.http2 import H2Stream
from tests.integration.slow.memory import MEGABYTE, Peak, resident
from tests.integration.slow.traffic import (
    COUNT,
    PATH,
    RATE,
    SIZE,
    TIMEOUT,
    a_client_that_never_reads,
    assert_complete,
    fast_clients,
    finished,
    flood,
    quantile,
    state,
    take_to,
)
from tests.integration.slow.ways import Way, serving

LIMIT = 10 * MEGABYTE
WARM_UP = 400


def report(way: object, **figures: float) -> None:
    """Into the file that `DJANGO_SSE_SLOW_REPORT` names: one JSON object a line."""
    line = json.dumps({"way": str(way)} | {key: round(value, 3) for key, value in figures.items()})
    print(line)
    if path := os.environ.get("DJANGO_SSE_SLOW_REPORT"):
        with Path(path).open("a") as file:
            file.write(line + "\n")


def check(way: Way, label: str, **options: Any) -> None:
    """``options`` are those of the slow client."""
    with serving(way) as reached, fast_clients(reached, PATH) as fast:
        server = reached.server
        # What the server keeps of its first thousands of events is not the slow client's.
        warming = fast.begin(WARM_UP)
        flood(server, "a", WARM_UP)
        finished(warming, TIMEOUT)
        state(server)
        before = resident(server)
        with a_client_that_never_reads(reached, **options) as slow, Peak(server) as peak:
            reading = fast.begin(COUNT)
            flood(server, "a", COUNT)
            # They have all of it before the slow client reads a byte: it keeps them from nothing.
            # (How fast they are, the benchmarks measure; here the machine may be busy.)
            taken = finished(reading, TIMEOUT)
            state(server)
            grown, most = resident(server) - before, peak.bytes - before
            if isinstance(slow, H2Stream) and options.get("narrow"):
                slow.widen()
            late = take_to(slow, COUNT - 1)
            after = resident(server) - before
    delays = [each.delay for each in chain.from_iterable(taken)]
    p50, p99 = quantile(delays, 0.5), quantile(delays, 0.99)
    # On a busy machine those that read are behind, too: what waits for them is theirs.
    behind = sum(max(event.delay for event in each) for each in taken) * RATE * SIZE
    figures = {"grown": grown / MEGABYTE, "peak": most / MEGABYTE, "read": after / MEGABYTE}
    report(label, p50_ms=p50 * 1000, p99_ms=p99 * 1000, **figures)
    for each in taken:
        assert_complete(each, COUNT)
    assert_complete(late, COUNT)
    assert most < LIMIT + behind, figures
