"""The entries of a run that are not in the log yet, and how many more it may have."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from django_sse.runs import ceilings

if TYPE_CHECKING:
    from django_sse.log.base import Entry
    from django_sse.runs.ceilings import Ceiling

# Entries and bytes that a generator may be ahead of the log, and that are appended together.
_MOST = 100
_MOST_BYTES = 1 << 20


class Ahead:
    """The entries of a run that are not appended yet. Its methods need a lock of the caller's."""

    # ``add`` is called for each token, and takes half the time in a class with slots.
    __slots__ = (
        "_brim",
        "_brim_bytes",
        "_bytes",
        "_bytes_left",
        "_entries",
        "_events",
        "_events_left",
        "_size",
        "full",
        "reached",
    )

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._size = 0
        self._events, self._bytes = ceilings.events(), ceilings.size()
        self._events_left, self._bytes_left = self._events.most, self._bytes.most
        self._set_brim()
        #: Whether the generator must pause.
        self.full = False
        #: The ceiling that leaves no room for another value. The run looks at it before it encodes
        #: a value, because an encoder cannot take its events back. So a run has at most one value
        #: more than its ceilings allow.
        self.reached: Ceiling | None = None

    def _set_brim(self) -> None:
        self._brim = min(_MOST, self._events_left)
        self._brim_bytes = min(_MOST_BYTES, self._bytes_left)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, said: list[Entry]) -> None:
        """Add entries of the run."""
        size = self._size
        for entry in said:
            text = entry.data
            size += len(text) if text.isascii() else len(text.encode())
        self._size = size
        entries = self._entries
        entries.extend(said)
        if size >= self._brim_bytes or len(entries) >= self._brim:
            self._fill()

    def _fill(self) -> None:
        self.full = True
        if len(self) >= self._events_left:
            self.reached = self._events
        elif self._size >= self._bytes_left:
            self.reached = self._bytes

    def take(self) -> list[Entry]:
        """Remove the entries of the next append and return them."""
        taken = [self._entries.popleft() for _ in range(min(_MOST, len(self)))]
        self._events_left -= len(taken)
        if not self._entries:
            # One value can be many entries. ``full`` stays until all of them are taken.
            self._bytes_left -= self._size
            self._size = 0
            self.full = False
        self._set_brim()
        return taken

    def clear(self) -> None:
        """Forget the entries: nothing more can be appended."""
        self._entries.clear()
