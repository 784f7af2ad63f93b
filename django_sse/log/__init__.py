"""What was published: the log of events that replays are read from."""

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
    """The log in force; one instance a process."""
    return _instance(constants.LOG)
