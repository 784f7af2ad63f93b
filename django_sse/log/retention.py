"""What ``sse_trim`` removes, and what it has removed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Limits:
    """Events older than ``age``, and all but the newest ``count`` of a channel, are removed.

    The row of a channel without stored events is removed when its newest event is older than
    ``row_age``. That must be at least ``RETENTION["AGE"]``, because an empty position is valid
    that long (``django_sse.log.empty``), and at least ``KEY_AGE``, because the keys of a channel's
    events point to its row. None means no limit. Raises ``ValueError`` for a negative one.
    """

    age: timedelta | None = None
    count: int | None = None
    row_age: timedelta | None = None

    def __post_init__(self) -> None:
        # It would put the floor above the head.
        if self.count is not None and self.count < 0:
            raise ValueError(
                f"The number of events to keep must not be negative, but is {self.count}."
            )
        for age in (self.age, self.row_age):
            if age is not None and age < timedelta(0):
                raise ValueError(f"The age of what is kept must not be negative, but is {age}.")


@dataclass(slots=True)
class Swept:
    """The numbers of ``events`` and of ``channels`` that ``EventLog.sweep`` removed, or in a dry
    run would remove.

    ``locked`` has the channels that it left because other transactions had locked them.
    """

    events: int = 0
    channels: int = 0
    locked: list[str] = field(default_factory=list)
