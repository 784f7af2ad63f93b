"""Which processes are alive: those that keep changing a value in the database.

An observer measures on its own clock how long a value has not changed. Times of the database's
clock would not do: when that clock is set, they make a live process look dead. Nor would all the
time since a value was first seen: during an outage of the database no process can change anything.
So an observer counts only the time in which it wrote to the database itself, without a pause.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

K = TypeVar("K")

# A process changes its value this many times in the time after which it is taken for dead. An
# observer writes and looks as often.
RENEWALS = 4
# The number of intervals for which an observer may pause. If something makes all processes pause
# for that long, no observer notices. A live process has then changed nothing for one interval more,
# and still has one interval to renew.
PAUSE = 2
# A renewal that failed is tried again after this part of an interval: the others may not have
# noticed that the database was away.
SOONER = 1 / 4
# A single write could have come just before an outage.
_WRITES = 2


@dataclass(frozen=True, slots=True)
class _Observation:
    """A value, when it was first seen, and how many writes the observer had made by then."""

    value: object
    since: float
    writes: int


class Observer(Generic[K]):
    """Measures how long each key has had its value.

    Its owner keeps writing to the same database, and calls ``wrote`` after each write. All
    observations start again after a write that failed, or that came later than the owner announced:
    the others may not have been able to write either, or this process was stopped.

    ``clock`` is monotonic. Not thread-safe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._seen: dict[K, _Observation] = {}
        self._writes = 0
        self._due = float("-inf")

    def wrote(self, within: float) -> None:
        """Note that a write has succeeded, and that the next comes ``within`` so many seconds."""
        now = self.clock()
        if now > self._due:
            self.start_again()
        self._writes += 1
        self._due = now + within

    def start_again(self) -> None:
        """Forget all observations: the database could not be written, or not be read."""
        self._seen.clear()

    def forget(self, key: K) -> None:
        """Start to observe ``key`` again."""
        self._seen.pop(key, None)

    def unchanged(self, values: Mapping[K, object], *, asked: float) -> dict[K, float]:
        """Return for how many seconds each key has had its value; 0 also if that is not known yet.

        ``values`` has all keys, as the database returned them to a query that began at ``asked``.
        """
        now = self.clock()
        if now > self._due:
            self.start_again()
            return dict.fromkeys(values, 0.0)
        seen, self._seen = self._seen, {}
        for key, value in values.items():
            before = seen.get(key)
            if before is None or before.value != value:
                before = _Observation(value, now, self._writes)
            self._seen[key] = before
        return {key: self._seconds(found, asked) for key, found in self._seen.items()}

    def _seconds(self, found: _Observation, asked: float) -> float:
        if self._writes - found.writes < _WRITES:
            return 0.0
        return max(0.0, asked - found.since)
