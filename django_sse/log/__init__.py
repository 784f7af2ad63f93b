"""The log of published events, from which replays are read."""

from __future__ import annotations

from functools import cache

from django.utils.module_loading import import_string

from django_sse import constants
from django_sse.log.base import EventLog

__all__ = ["EventLog", "get_log"]


@cache
def _instance(path: str) -> EventLog:
    found: type[EventLog] = import_string(path)
    return found()


def get_log() -> EventLog:
    """Return the log in use; each process has one instance."""
    return _instance(constants.LOG)
