"""The ways in which processes can be woken, and a listener which remembers what it hears."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from django_sse.constants import overridden
from django_sse.notifiers import Notifier, Wakeup, get_notifier
from django_sse.notifiers.postgres import PostgresNotifier
from tests.databases import POSTGRES_URL, REDIS_URL
from tests.requirements import require

TIMEOUT = 60.0
LISTENER_THREAD = "django_sse-data-version"
SENDER_THREAD = "django_sse-sender"
# Nobody listens on the discard port (RFC 863) of this machine.
NOWHERE = "127.0.0.1:9"

IN_MEMORY = "channels.layers.InMemoryChannelLayer"
REDIS_CORE = "channels_redis.core.RedisChannelLayer"
REDIS_PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"


@dataclass(frozen=True, slots=True)
class Way:
    """A notifier as a project configures it: the setting, and the layer's class.

    ``away``: the settings with which its transport is not there.
    """

    setting: str | dict[str, Any]
    away: dict[str, Any] = field(default_factory=dict)
    layer: str = ""
    needs: str = ""

    def layers(self, place: str) -> dict[str, Any]:
        """``CHANNEL_LAYERS`` with the server at ``place``."""
        if not self.layer:
            return {}
        config = {"hosts": [f"redis://{place}"]} if "redis" in self.layer else {}
        return {"default": {"BACKEND": self.layer, "CONFIG": config}}


def by_postgres(dsn: str | None) -> dict[str, Any]:
    """The setting NOTIFIER with a way to PostgreSQL."""
    return {"BACKEND": "postgres", "OPTIONS": {"dsn": dsn}}


# For the processes that the tests start.
_QUICK = {"THREAD_IDLE": 0.05}
_NO_DATABASE = {"DATABASE": "no such database"}
WAYS = {
    "local": Way("local", away=_NO_DATABASE),
    "database": Way("database", away=_NO_DATABASE),
    "postgres": Way(
        by_postgres(POSTGRES_URL),
        needs="postgres",
    ),
    "layer-in-memory": Way("channel_layer", layer=IN_MEMORY),
    "layer-redis-core": Way("channel_layer", layer=REDIS_CORE, needs="redis"),
    "layer-redis-pubsub": Way("channel_layer", layer=REDIS_PUBSUB, needs="redis"),
}
REDIS_PLACE = REDIS_URL.removeprefix("redis://")


class Configured:
    """A notifier in force, with an environment of its own: others use the same servers."""

    def __init__(self, way: Way, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        if way.needs:
            require(way.needs)
        self._way, self._settings, self._environ = way, settings, monkeypatch
        self._environment = uuid4().hex
        self.restore()

    def restore(self) -> None:
        """The transport is there, for this process and for those that it starts."""
        self._use({}, REDIS_PLACE, POSTGRES_URL)

    def lose(self) -> None:
        """The transport is away, as far as new connections can tell."""
        self._use(self._way.away, NOWHERE, f"postgresql://postgres@{NOWHERE}/postgres")

    def _use(self, options: dict[str, Any], place: str, dsn: str | None) -> None:
        options = {"NOTIFIER": self._way.setting, "ENVIRONMENT": self._environment, **options}
        layers = self._way.layers(place)
        self._settings.DJANGO_SSE = options
        self._settings.CHANNEL_LAYERS = layers
        if isinstance(notifier := get_notifier(), PostgresNotifier):
            # Another option would be another notifier.
            notifier._dsn = dsn
        self._environ.setenv("DJANGO_SSE_TEST_OPTIONS", json.dumps(options))
        self._environ.setenv("DJANGO_SSE_CONSTANTS", json.dumps(_QUICK))
        self._environ.setenv("DJANGO_SSE_TEST_CHANNEL_LAYERS", json.dumps(layers))


@asynccontextmanager
async def using(
    name: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Notifier]:
    """The notifier of ``WAYS[name]`` in force, until its threads have ended."""
    with overridden(**_QUICK):
        configured = Configured(WAYS[name], settings, monkeypatch)
        yield get_notifier()
        configured.restore()
        await listener_threads_ended()


class Ear:
    """What one hub would hear."""

    def __init__(self) -> None:
        self.heard: list[Wakeup | None] = []
        self.threads: set[threading.Thread] = set()
        self._news = asyncio.Event()

    def wake(self, wakeup: Wakeup | None) -> None:
        self.heard.append(wakeup)
        self.threads.add(threading.current_thread())
        self._news.set()

    async def hears(self, condition: Callable[[], object]) -> None:
        """Returns once the condition holds, which is asked whenever something is heard."""
        async with asyncio.timeout(TIMEOUT):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def more(self) -> None:
        """Returns when something new is heard."""
        before = len(self.heard)
        await self.hears(lambda: len(self.heard) > before)

    async def hears_of(self, wakeup: Wakeup, start: int = 0) -> None:
        """Returns once one of the words from ``start`` on tells of ``wakeup``, or of anything."""

        def tells(heard: Wakeup | None) -> bool:
            return heard is None or (heard[:2] == wakeup[:2] and heard.seq >= wakeup.seq)

        await self.hears(lambda: any(map(tells, self.heard[start:])))


@asynccontextmanager
async def listening(notifier: Notifier) -> AsyncIterator[Ear]:
    """A listener, from its first word (where it says any) to its end."""
    ear = Ear()
    task = asyncio.create_task(notifier.listen(ear.wake))
    try:
        if notifier.supports_other_processes:
            await ear.hears(lambda: ear.heard)
        yield ear
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def listener_threads_ended() -> None:
    """Returns when no thread of a listener, or of a sender, runs any more."""
    for thread in threading.enumerate():
        if thread.name in (LISTENER_THREAD, SENDER_THREAD):
            await asyncio.to_thread(thread.join, TIMEOUT)
            assert not thread.is_alive()
