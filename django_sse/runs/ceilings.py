"""The ceilings of one run: the seconds, events and bytes that it may take.

They are far above every honest answer. They end a generator that never ends by itself, whose events
would be stored even if nobody reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

from django_sse import conf
from django_sse.models import State
from django_sse.streams.ends import Ending


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One of ``LIMITS`` that ends a run: the setting's name, its value, and the run's end."""

    setting: str
    most: int | float
    ending: Ending

    def __str__(self) -> str:
        return f"{self.setting} ({self.most:,})"


def _ending(message: str, code: str) -> Ending:
    return Ending(State.ERROR, message, code)


_SECONDS = _ending("The answer took longer than the server allows.", "limit_seconds")
_EVENTS = _ending("The answer has more events than the server allows.", "limit_events")
_BYTES = _ending("The answer is larger than the server allows.", "limit_bytes")


def seconds() -> Ceiling:
    """Return the ceiling of a run's time."""
    return Ceiling("RUN_SECONDS", conf.current().LIMITS.RUN_SECONDS, _SECONDS)


def events() -> Ceiling:
    """Return the ceiling of a run's events."""
    return Ceiling("RUN_EVENTS", conf.current().LIMITS.RUN_EVENTS, _EVENTS)


def size() -> Ceiling:
    """Return the ceiling of the bytes of a run's data."""
    return Ceiling("RUN_BYTES", conf.current().LIMITS.RUN_BYTES, _BYTES)
