"""Who is alive: whoever changes a value in the database often enough, by the observer's own clock.

No time of a database's clock says so: a clock that is set would then end what lives. Nor does one
look say so: after an outage of the database nobody has changed anything for a while. So an observer
counts only the time in which it wrote to the database itself, without a pause.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

K = TypeVar("K")

# Who lives changes its value so many times in the time after which it is taken for dead, and an
# observer writes and looks as often.
RENEWALS = 4
# An observer may pause for so many intervals: what makes all of them pause for as long is not
# noticed. The others were silent for one interval more then, which leaves them one to renew.
PAUSE = 2
# A renewal that failed is tried again after this part of an interval: the others may not have
# noticed that the database was away.
SOONER = 1 / 4
# One could be the write that came just before an outage.
_WRITES = 2


@dataclass(frozen=True, slots=True)
class _Observation:
    """A value, since when it is seen, and how many writes of the observer came before."""

    value: object
    since: float
    writes: int


class Observer(Generic[K]):
    """Tells for how long each key has kept its value.

    Its owner writes to the same database all the time, and says so with ``wrote``. A write that
    failed, or one that came later than ``wrote`` was promised, begins all observations anew: the
    others may have been kept from writing, too, or this process was stopped.

    ``clock`` is monotonic. Not thread-safe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._seen: dict[K, _Observation] = {}
        self._writes = 0
        self._due = float("-inf")

    def wrote(self, within: float) -> None:
        """Note that a write has just succeeded, and that the next will within so many seconds."""
        now = self.clock()
        if now > self._due:
            self.begin_anew()
        self._writes += 1
        self._due = now + within

    def begin_anew(self) -> None:
        """Forget all observations: the database could not be written to, or not be read."""
        self._seen.clear()

    def forget(self, key: K) -> None:
        """Observe ``key`` anew."""
        self._seen.pop(key, None)

    def silences(self, values: Mapping[K, object], *, asked: float) -> dict[K, float]:
        """Return for how many seconds each key has had its value; 0 is also "not known yet".

        ``values`` are all that there are, as the database returned them to a query that began at
        ``asked``.
        """
        now = self.clock()
        if now > self._due:
            self.begin_anew()
            return dict.fromkeys(values, 0.0)
        seen, self._seen = self._seen, {}
        for key, value in values.items():
            before = seen.get(key)
            if before is None or before.value != value:
                before = _Observation(value, now, self._writes)
            self._seen[key] = before
        return {key: self._silence(found, asked) for key, found in self._seen.items()}

    def _silence(self, found: _Observation, asked: float) -> float:
        if self._writes - found.writes < _WRITES:
            return 0.0
        return max(0.0, asked - found.since)
