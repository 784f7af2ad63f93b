"""Three servers, publishers in each, 200 clients: whatever dies, nobody loses an event."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests import FULL
from tests.integration.many.load import Load
from tests.integration.many.site import CLIENTS, EVENTS, carry, server
from tests.integration.many.stores import POSTGRES, SQLITE, STORES
from tests.servers import HOST

pytestmark = pytest.mark.needs("nginx", "uvicorn", "uvloop")


# The rest differ in what tells of an event, not in what is done with it.
SHARE = {SQLITE: 1, POSTGRES: 1}
SAMPLE = (SQLITE, POSTGRES)


@pytest.mark.parametrize(
    ("env", "events"),
    [
        (store, EVENTS // SHARE.get(store, 5 if FULL else 2))
        for store in STORES
        if FULL or store in SAMPLE
    ],
    indirect=["env"],
    ids=lambda value: getattr(value, "name", None),
)
def test_servers_are_killed_and_restarted_while_events_flow(
    env: dict[str, str], events: int
) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(server("uvicorn", env)) for _ in range(3)]

        def disturb(load: Load) -> None:
            load.wait_for(load.total * 2 // 10)
            servers[0].kill()
            load.wait_for(load.total * 4 // 10)
            assert not servers[1].stop().killed
            servers[1].start()
            load.wait_for(load.total * 6 // 10)
            servers[0].start()

        account = carry(env, servers, events, disturb)
    account.check(events)
    report = account.report
    assert set(report.upstreams) == {f"{HOST}:{server.port}" for server in servers}
    assert report.connections > CLIENTS
    # Of the server that was told to stop; the one that was killed said nothing.
    assert report.farewells
    assert account.load.cut
