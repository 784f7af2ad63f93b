"""Where a stream stands in one channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django_sse.hub.ring import Frame
    from django_sse.hub.topic import Topic


@dataclass(slots=True)
class Place:
    """Where the stream stands in one channel. ``page`` holds frames read from the log while the
    cursor is behind the ring."""

    topic: Topic
    cursor: int
    generation: int
    page: list[Frame]
    reset: str = ""

    @property
    def ended(self) -> bool:
        return self.topic.terminal is not None and self.cursor >= self.topic.terminal

    @property
    def behind(self) -> bool:
        return self.cursor < self.topic.ring.start

    @property
    def wants_page(self) -> bool:
        return self.behind and not self.page

    @property
    def stale(self) -> bool:
        return bool(self.reset) or self.generation != self.topic.generation
