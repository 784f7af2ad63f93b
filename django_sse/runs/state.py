"""The states of a run in its own process."""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """The state of a run. It never moves back."""

    RUNNING = auto()
    """The generator's items are accepted and written."""
    ENDING = auto()
    """The run's end waits to be written. Nothing may follow it, even if the generator continues."""
    OVER = auto()
    """Nothing more is written: the log has this end, or one that came before it."""


# Names of the module, because a run reads one for every token: see django_sse.streams.state.
RUNNING, ENDING, OVER = State
