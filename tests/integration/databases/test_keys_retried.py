"""Publishers that try again when their connections to the database are cut at any moment."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial

from django.db import connections

from django_sse import publish
from django_sse.exceptions import LogUnavailable
from django_sse.log.model import ModelLog
from tests import FULL
from tests.databases import PORTS
from tests.proxy import Proxy
from tests.unit.log.support import ON_A_DATABASE, as_default, in_threads, texts

pytestmark = ON_A_DATABASE

EVENTS = 60 if FULL else 12


def until_published(key: str) -> tuple[str | None, int]:
    """The id of the event, and how often the log was unavailable before."""
    failed = 0
    while True:
        try:
            return publish("c", key, key=key), failed
        except LogUnavailable:
            failed += 1


def test_a_retry_with_the_key_publishes_once(
    model_log: ModelLog, proxied: Callable[[int], Proxy]
) -> None:
    config = connections.databases["default"]
    port = int(config["PORT"] or PORTS[config["ENGINE"].rpartition(".")[2]])
    proxy, ended = proxied(port), threading.Event()

    def publish_all(prefix: str) -> list[tuple[str | None, int]]:
        return [until_published(f"{prefix}{number}") for number in range(EVENTS)]

    def cut() -> list[tuple[str | None, int]]:
        # At any moment of an append, so that it meets each of its statements, and the COMMIT.
        while not ended.wait(random.uniform(0.02, 0.1)):
            proxy.cut()
        return []

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        with as_default({**config, "HOST": "127.0.0.1", "PORT": str(proxy.port)}):
            found = in_threads(*[partial(publish_all, each) for each in "ab"])
    finally:
        ended.set()
        cutter.join()
    published = [each for one in found for each in one]
    assert sum(failed for _, failed in published) > 0
    assert len({id for id, _ in published}) == 2 * EVENTS
    assert sorted(texts(model_log, "c")) == sorted(
        f"{prefix}{number}" for prefix in "ab" for number in range(EVENTS)
    )
