"""The entries of a run that are not in the log yet."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from django_sse.log.base import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable

# Entries and bytes that a generator may be ahead of the log. So many are appended together.
_MOST = 100
_MOST_BYTES = 1 << 20


class Ahead(deque[Entry]):
    """What a run has said and not appended. Adding and taking need a lock of the caller's."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0
        self.full = False
        """Whether the generator must pause. A plain attribute, because every value asks."""

    def add(self, entries: Iterable[Entry], size: int) -> None:
        """Append ``entries``, whose data is ``size`` bytes."""
        self.extend(entries)
        self._size += size
        self.full = len(self) >= _MOST or self._size >= _MOST_BYTES

    def take(self) -> list[Entry]:
        """Remove the entries of the next append and return them."""
        taken = [self.popleft() for _ in range(min(_MOST, len(self)))]
        if not self:
            # One value can be many entries. It is full until all of them are taken.
            self._size = 0
            self.full = False
        return taken
