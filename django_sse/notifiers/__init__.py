"""Wake-ups between processes. A wake-up is a hint: losing one costs time, never an event."""

from __future__ import annotations

import os
from functools import cache

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

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
    try:
        backend = import_string(path)
    except ImportError as error:
        known = ", ".join(["auto", *_NAMES])
        raise ImproperlyConfigured(
            f'{conf.NAME}["NOTIFIER"]: cannot import {path!r} ({error}). Known names: {known}.'
        ) from None
    if not (isinstance(backend, type) and issubclass(backend, Notifier)):
        raise ImproperlyConfigured(f'{conf.NAME}["NOTIFIER"]: {path!r} is not a Notifier.')
    return backend()


def get_notifier() -> Notifier:
    """The notifier in force; one instance a process."""
    return _instance(notifier_path(conf.current()))


os.register_at_fork(after_in_child=_instance.cache_clear)
