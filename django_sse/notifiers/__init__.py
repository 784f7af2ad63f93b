"""Wake-ups between processes. A wake-up is a hint: losing one costs time, never an event."""

from __future__ import annotations

import os
from functools import cache

from django_sse import conf
from django_sse.notifiers.base import Notifier, Wakeup

__all__ = ["Notifier", "Wakeup", "get_notifier", "notifier_path"]

_NAMES = {
    "local": "django_sse.notifiers.local.LocalNotifier",
    "database": "django_sse.notifiers.database.DatabaseNotifier",
}
_MEMORY_LOG = "django_sse.log.memory.MemoryLog"


def notifier_path(settings: conf.Settings) -> str:
    """The dotted path that ``NOTIFIER`` stands for; what ``auto`` means is decided here."""
    name = settings.NOTIFIER
    if name == "auto":
        # A log in this process's memory has nothing to tell to others.
        name = "local" if settings.LOG == _MEMORY_LOG else "database"
    return _NAMES.get(name, name)


@cache
def _instance(path: str) -> Notifier:
    hint = f". Known names: {', '.join(['auto', *_NAMES])}."
    return conf.load("NOTIFIER", path, Notifier, hint)()  # type: ignore[type-abstract]


def get_notifier() -> Notifier:
    """The notifier in force; one instance a process."""
    return _instance(notifier_path(conf.current()))


os.register_at_fork(after_in_child=_instance.cache_clear)
