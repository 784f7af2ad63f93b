"""No vendor's convention but this library's own: events as they are yielded, and a typed end."""

from __future__ import annotations

from typing import Any

from django_sse.dialects.base import Encoder
from django_sse.wire.event import Event


class PlainEncoder(Encoder):
    """Items to events: an ``Event`` as it is, anything else as the data of one."""

    def __init__(self, terminal: Event) -> None:
        self._terminal = terminal

    def encode(self, value: Any) -> list[Event]:
        return [value if isinstance(value, Event) else Event(value)]

    def done(self) -> list[Event]:
        return [self._terminal]

    def failed(self, message: str, code: str = "error") -> list[Event]:
        return [Event({"error": message, "code": code}, event="error")]

    def aborted(self) -> list[Event]:
        return self.failed("The stream was aborted.", "aborted")
