"""What a run says, as entries of its channel: in its dialect, from the first to the last."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django_sse.dialects.plain import PlainEncoder
from django_sse.log.base import State
from django_sse.log.entries import data_entry, entry_of
from django_sse.publishing import PLAIN, last_entries
from django_sse.runs import ends
from django_sse.wire.event import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_sse.dialects import Encoder
    from django_sse.log.base import Entry
    from django_sse.models import Run

logger = logging.getLogger("django_sse")

_UNSAYABLE = "The answer is complete, but its end could not be sent."


class Entries:
    """The values of one run, and its end, through its encoder; in one thread at a time."""

    def __init__(self, run: Run, encoder: Encoder) -> None:
        self._run = run
        self._channel = run.channel
        self._encoder = encoder
        self._is_plain = type(encoder) is PlainEncoder
        self._made = 0
        self.broken = False
        """Whether the encoder has said what the log refused. What it says next would not fit what
        the clients have, so the run can only end."""

    def of(self, item: Any) -> list[Entry]:
        """The entries of what the generator yielded. Raises what its encoding does."""
        if self._is_plain and not isinstance(item, Event):
            # What most items are, at half the price.
            return [data_entry(self._channel, item)]
        events = self._encoder.encode(item)
        try:
            entries = [entry_of(self._channel, each) for each in events]
        except Exception:
            # A plain event stands for itself.
            self.broken = not self._is_plain
            raise
        self._made += len(entries)
        return entries

    def last(self, state: State, say: Callable[[Encoder], list[Event]]) -> list[Entry]:
        """The entries that end the run as ``say`` has an encoder say it."""
        if not self.broken:
            try:
                return last_entries(self._channel, state, say(self._encoder))
            except Exception:
                # An end that repeats the whole answer may be too large. A run must end all the
                # same.
                logger.exception("The run %s cannot end as its dialect has it.", self._run.pk)
                state, say = State.ERROR, _unsayable
        try:
            # As another process would say it, which knows how much is out.
            events = ends.last_events(self._run, self._made, say)
            return last_entries(self._channel, state, events)
        except Exception:
            logger.exception("The run %s cannot end in its dialect.", self._run.pk)
            return last_entries(self._channel, State.ERROR, _unsayable(PLAIN))


def _unsayable(encoder: Encoder) -> list[Event]:
    return encoder.failed(_UNSAYABLE)
