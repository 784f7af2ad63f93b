"""The ceilings of one run: how long it may take, and how much it may say.

They are far above every honest answer. They end a generator that would never end by itself, and
that nobody need be reading: its events are stored all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django_sse import conf
from django_sse.models import State
from django_sse.streams.ends import Ending

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_sse.log.base import Entry


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One of ``LIMITS`` that ends a run: the setting's name, its value, and the run's end."""

    setting: str
    most: float
    ending: Ending

    def __str__(self) -> str:
        return f"{self.setting} ({self.most:,})"


def _ending(message: str, code: str) -> Ending:
    return Ending(State.ERROR, message, code)


_SECONDS = _ending("The answer took longer than the server allows.", "limit_seconds")
_EVENTS = _ending("The answer has more events than the server allows.", "limit_events")
_BYTES = _ending("The answer is larger than the server allows.", "limit_bytes")


class Meter:
    """What one run has used of its ceilings, as they were when it began."""

    def __init__(self) -> None:
        limits = conf.current().LIMITS
        self.seconds = Ceiling("RUN_SECONDS", limits.RUN_SECONDS, _SECONDS)
        self._events = Ceiling("RUN_EVENTS", limits.RUN_EVENTS, _EVENTS)
        self._bytes = Ceiling("RUN_BYTES", limits.RUN_BYTES, _BYTES)
        self._events_left = limits.RUN_EVENTS
        self._bytes_left = limits.RUN_BYTES
        self.reached: Ceiling | None = None
        """The ceiling that leaves no room for another value.

        A value is looked at before it is encoded, because an encoder cannot take its events back.
        So a run says at most one value more than its ceilings.
        """

    def count(self, entries: Iterable[Entry]) -> int:
        """Note that the run says ``entries``; return the bytes of their data."""
        size = 0
        for entry in entries:
            text = entry.data
            size += len(text) if text.isascii() else len(text.encode())
            self._events_left -= 1
        self._bytes_left -= size
        if self._events_left <= 0:
            self.reached = self._events
        elif self._bytes_left <= 0:
            self.reached = self._bytes
        return size
