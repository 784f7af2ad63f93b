"""A client that never widens its window (HTTP/2) slows nobody, either."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.integration.slow import ways
from tests.integration.slow.asked import check
from tests.integration.slow.traffic import (
    SECONDS,
    a_client_that_never_reads,
    fast_clients,
    finished,
    flood,
)
from tests.integration.slow.ways import Way, serving
from tests.servers import Server

pytestmark = pytest.mark.timeout(300 + 10 * SECONDS)


@ways.over([*ways.HTTP2, *(way for way in ways.IN_DJANGO if way.protocol != "1.1")])
def test_that_never_widens_its_window(way: Way) -> None:
    check(way, f"{way} window", narrow=True)


COUNT = 20
WATCHED = 3.0


def cpu_seconds(server: Server) -> float:
    """What its processes have used (proc(5): utime and stime, after the name in parentheses)."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2] for pid in server.pids()]
    ticks = sum(int(field) for stat in stats for field in stat.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


@ways.over(ways.HTTP2)
def test_a_closed_window_costs_an_idle_server_no_cpu(way: Way) -> None:
    """Twisted's sending loop never rests while a stream has data and no window."""
    path = "/channels/a/"
    with (
        serving(way) as reached,
        a_client_that_never_reads(reached, narrow=True),
        fast_clients(reached, path, 1) as fast,
    ):
        taken = fast.begin(COUNT)
        flood(reached.server, "a", COUNT)
        finished(taken, 60)
        before = cpu_seconds(reached.server)
        time.sleep(WATCHED)
        used = cpu_seconds(reached.server) - before
    print(f"{way}: {used:.2f} s of CPU in {WATCHED:g} s")
    assert used < WATCHED / 10
