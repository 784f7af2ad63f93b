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


def until_published(key: str, cut: threading.Event) -> str | None:
    """The id of the event. ``cut`` is set if the log was unavailable before."""
    while True:
        try:
            return publish("c", key, key=key)
        except LogUnavailable:
            cut.set()


def test_a_retry_with_the_key_publishes_once(
    model_log: ModelLog, proxied: Callable[[int], Proxy]
) -> None:
    config = connections.databases["default"]
    port = int(config["PORT"] or PORTS[config["ENGINE"].rpartition(".")[2]])
    proxy, ended, unavailable = proxied(port), threading.Event(), threading.Event()

    def publish_all(prefix: str) -> dict[str, str | None]:
        published: dict[str, str | None] = {}
        # More, if no cut met a publish so far.
        while len(published) < EVENTS or not unavailable.is_set():
            key = f"{prefix}{len(published)}"
            published[key] = until_published(key, unavailable)
        return published

    def cut() -> None:
        # At any moment of an append, so that it meets each of its statements, and the COMMIT.
        while not ended.wait(random.uniform(0.02, 0.1)):
            proxy.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        with as_default({**config, "HOST": "127.0.0.1", "PORT": str(proxy.port)}):
            found = in_threads(*[partial(publish_all, each) for each in "ab"])
    finally:
        ended.set()
        cutter.join()
    published = {key: id for one in found for key, id in one.items()}
    assert len(set(published.values())) == len(published)
    assert sorted(texts(model_log, "c")) == sorted(published)
