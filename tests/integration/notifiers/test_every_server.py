"""Where a hub may live: on a server's loop, or on the background loop (WSGI)."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import uuid4

import pytest

from tests import FULL
from tests.integration.servers.client import Stream
from tests.options import environ
from tests.servers import Server
from tests.unit.notifiers.publisher import Publisher
from tests.unit.notifiers.support import REDIS_PLACE, WAYS

# Of uvloop, asyncio, Twisted and threads; granian has a loop in a thread of its own.
KINDS: tuple[str, ...] = ("granian", "daphne", "gunicorn-gthread")
if FULL:
    KINDS += ("uvicorn", "uvicorn-asyncio")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("postgres", marks=pytest.mark.needs("postgres")),
        pytest.param("layer-redis-core", marks=pytest.mark.needs("redis")),
        pytest.param("layer-redis-pubsub", marks=pytest.mark.needs("redis")),
    ],
)
def test_another_process_is_heard(name: str, kind: str, serve: Callable[..., Server]) -> None:
    way = WAYS[name]
    options = {"NOTIFIER": way.setting, "ENVIRONMENT": uuid4().hex, "SAFETY_INTERVAL": 3600.0}
    env = {
        **environ(**options),
        "DJANGO_SSE_TEST_CHANNEL_LAYERS": json.dumps(way.layers(REDIS_PLACE)),
    }
    server = serve(kind, env=env)
    publisher = Publisher({**env, "DJANGO_SSE_TEST_DB": str(server.database)})
    with publisher, Stream(server, "/channels/a+b/") as stream:
        assert stream.next().type == "stream-open"
        for number in range(20):
            publisher.publish("ab"[number % 2], number)
            assert stream.next().data == str(number)
    assert server.stop().killed is False
