"""Wake-ups between processes. A wake-up is a hint: losing one costs time, never an event."""

from __future__ import annotations

from functools import cache

from django.conf import settings as django_settings
from django.db import connections

from django_sse import conf
from django_sse.notifiers.base import Notifier, Wakeup
from django_sse.process.lifecycle import Order, in_forked_child

__all__ = ["Notifier", "Wakeup", "get_notifier", "notifier_path"]

_NAMES = {
    "local": "django_sse.notifiers.local.LocalNotifier",
    "database": "django_sse.notifiers.database.DatabaseNotifier",
    "postgres": "django_sse.notifiers.postgres.PostgresNotifier",
    "channel_layer": "django_sse.notifiers.channel_layer.ChannelLayerNotifier",
}
_MEMORY_LOG = "django_sse.log.memory.MemoryLog"


def notifier_path(settings: conf.Settings) -> str:
    """The dotted path that ``NOTIFIER`` stands for; what ``auto`` means is decided here."""
    name = _auto(settings) if settings.NOTIFIER == "auto" else settings.NOTIFIER
    return _NAMES.get(name, name)


def _auto(settings: conf.Settings) -> str:
    """The best that is there by configuration; nothing is connected to find out."""
    if settings.LOG == _MEMORY_LOG:
        # A log in this process's memory has nothing to tell to others.
        return "local"
    if _has_channel_layer(settings.CHANNEL_LAYER):
        return "channel_layer"
    return "postgres" if _can_listen(settings) else "database"


def _has_channel_layer(alias: str) -> bool:
    if alias not in (getattr(django_settings, "CHANNEL_LAYERS", None) or {}):
        return False
    from django_sse.notifiers.channel_layer import crosses_processes

    return crosses_processes(alias)


def _can_listen(settings: conf.Settings) -> bool:
    from django_sse.notifiers.postgres import behind_a_pooler, has_psycopg

    if not has_psycopg():
        return False
    if settings.NOTIFIER_DSN is not None:
        return True
    alias = settings.DATABASE
    if alias not in connections or connections[alias].vendor != "postgresql":
        return False
    return not behind_a_pooler(alias)


@cache
def _instance(path: str) -> Notifier:
    hint = f". Known names: {', '.join(['auto', *_NAMES])}."
    return conf.load("NOTIFIER", path, Notifier, hint)()  # type: ignore[type-abstract]


def get_notifier() -> Notifier:
    """The notifier in force; one instance a process."""
    return _instance(notifier_path(conf.current()))


@in_forked_child(Order.NOTIFIER)
def _forget_after_fork() -> None:
    _instance.cache_clear()
