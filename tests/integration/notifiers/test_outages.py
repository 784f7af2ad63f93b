"""The transport dies for seconds and comes back: nothing is lost, nobody stays deaf.

The safety poll is as good as off: what arrives here was told by the notifier.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests import FULL, ROOT
from tests.integration.servers.client import Stream
from tests.options import environ
from tests.requirements import in_full
from tests.servers import Server
from tests.services import PostgresServer, RedisServer, Service
from tests.unit.notifiers.publisher import Publisher
from tests.unit.notifiers.support import REDIS_CORE, REDIS_PUBSUB

# Longer than the pause between two attempts.
OUTAGE = 10.0 if FULL else 4.0
PAUSE = 0.2
# Far more than it takes (two seconds until the next attempt), far less than the safety poll.
SOON = 30.0
OPTIONS = {"SAFETY_INTERVAL": 3600.0, "HEARTBEAT": 1.0}


def redis_environment(layer: str) -> Callable[[Service], dict[str, str]]:
    def environment(service: Service) -> dict[str, str]:
        config = {"BACKEND": layer, "CONFIG": {"hosts": [f"redis://{service.place}"]}}
        return {
            "DJANGO_SSE_TEST_CHANNEL_LAYERS": json.dumps({"default": config}),
            **environ(**OPTIONS),
        }

    return environment


def postgres_environment(service: Service) -> dict[str, str]:
    assert isinstance(service, PostgresServer)
    return environ(**OPTIONS, NOTIFIER={"BACKEND": "postgres", "OPTIONS": {"dsn": service.url}})


def until(deadline: float) -> Iterator[int]:
    """Numbers, from 1 on, one each `PAUSE`: the outage has a length, and nothing tells of it."""
    number = 0
    while time.monotonic() < deadline:
        yield (number := number + 1)
        time.sleep(PAUSE)


def texts(stream: Stream, count: int) -> list[str]:
    return [event.data for event in stream.take(count)]


@pytest.mark.parametrize(
    ("service", "environment", "away"),
    [
        pytest.param(
            RedisServer,
            redis_environment(REDIS_CORE),
            "The channel layer is not heard",
            id="redis-core",
            marks=pytest.mark.needs("redis-server"),
        ),
        pytest.param(
            RedisServer,
            redis_environment(REDIS_PUBSUB),
            "The channel layer is not heard",
            id="redis-pubsub",
            marks=[pytest.mark.needs("redis-server"), in_full],
        ),
        pytest.param(
            PostgresServer,
            postgres_environment,
            "LISTEN hears nothing",
            id="postgres",
            marks=pytest.mark.needs("postgres-server"),
        ),
    ],
)
def test_publishing_goes_on_and_clients_get_everything_late_in_order_and_once(
    service: type[Service],
    environment: Callable[[Service], dict[str, str]],
    away: str,
    serve: Callable[..., Server],
) -> None:
    with service() as transport:
        env = environment(transport)
        server = serve("uvicorn", env=env)
        publisher = Publisher({**env, "DJANGO_SSE_TEST_DB": str(server.database)})
        with publisher, Stream(server, "/channels/news/") as stream:
            assert stream.next().type == "stream-open"
            publisher.publish("news", "before")
            assert texts(stream, 1) == ["before"]

            transport.kill()
            published = 0
            for number in until(time.monotonic() + OUTAGE):
                assert publisher.publish("news", number) != "LogUnavailable"
                published = number
            transport.start()
            started = time.monotonic()
            assert texts(stream, published) == [str(each) for each in range(1, published + 1)]
            assert time.monotonic() - started < SOON

            for number in range(20):
                started = time.monotonic()
                publisher.publish("news", f"after {number}")
                assert texts(stream, 1) == [f"after {number}"]
                assert time.monotonic() - started < SOON
        # Not once a second.
        assert server.output().count(away) == 1
        assert "died. It will be restarted" not in server.output()


@pytest.mark.needs("postgres-server")
def test_log_and_notifier_in_one_postgresql_that_dies(serve: Callable[..., Server]) -> None:
    with PostgresServer() as transport:
        env = {
            "DJANGO_SSE_TEST_DATABASE_URL": transport.url,
            **environ(**OPTIONS),
        }
        migrate(env)
        server = serve("uvicorn", env=env)
        with Publisher(env) as publisher, Stream(server, "/channels/news/") as stream:
            assert stream.next().type == "stream-open"
            publisher.publish("news", "before")
            assert texts(stream, 1) == ["before"]

            transport.kill()
            beats = stream.body.count(b":\n")
            for number in until(time.monotonic() + OUTAGE):
                assert publisher.publish("news", number) == "LogUnavailable"
            # The stream is open all the while.
            stream.read_until(lambda body: body.count(b":\n") > beats + OUTAGE / 2)
            transport.start()

            for number in range(20):
                started = time.monotonic()
                publisher.publish("news", f"after {number}")
                assert texts(stream, 1) == [f"after {number}"]
                assert time.monotonic() - started < SOON
        assert server.output().count("LISTEN hears nothing") == 1


def migrate(env: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "django", "migrate", "--skip-checks", "-v0"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **env},
        check=True,
    )


@pytest.mark.parametrize("layer", [REDIS_CORE, REDIS_PUBSUB] if FULL else [REDIS_CORE])
@pytest.mark.needs("redis-server")
def test_a_layer_that_is_not_there_at_the_start(layer: str, serve: Callable[..., Server]) -> None:
    with RedisServer() as transport:
        transport.kill()
        env = redis_environment(layer)(transport)
        env |= environ(**{**OPTIONS, "SAFETY_INTERVAL": 0.5})
        server = serve("uvicorn", env=env)
        publisher = Publisher({**env, "DJANGO_SSE_TEST_DB": str(server.database)})
        with publisher, Stream(server, "/channels/news/") as stream:
            assert stream.next().type == "stream-open"
            # The safety poll carries on.
            for number in range(3):
                publisher.publish("news", number)
                assert texts(stream, 1) == [str(number)]
        assert server.output().count("The channel layer is not heard") == 1
