"""What was published: the log of events that replays are read from."""

from __future__ import annotations

from functools import cache

from django_sse import conf
from django_sse.log.base import EventLog

__all__ = ["EventLog", "get_log"]


@cache
def _instance(path: str) -> EventLog:
    return conf.load("LOG", path, EventLog)()  # type: ignore[type-abstract]


def get_log() -> EventLog:
    """The log that ``DJANGO_SSE["LOG"]`` names; one instance a process."""
    return _instance(conf.current().LOG)
