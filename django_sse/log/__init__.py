"""What was published: the log of events that replays are read from."""

from __future__ import annotations

from functools import cache

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_sse import conf
from django_sse.log.base import EventLog

__all__ = ["EventLog", "get_log"]


@cache
def _instance(path: str) -> EventLog:
    try:
        backend = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f'{conf.NAME}["LOG"]: cannot import {path!r}: {error}') from None
    if not (isinstance(backend, type) and issubclass(backend, EventLog)):
        raise ImproperlyConfigured(f'{conf.NAME}["LOG"]: {path!r} is not an EventLog.')
    return backend()


def get_log() -> EventLog:
    """The log that ``DJANGO_SSE["LOG"]`` names; one instance a process."""
    return _instance(conf.current().LOG)
