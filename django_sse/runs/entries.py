"""From the values that a run yields to the entries of its channel, in its dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_sse.dialects.cleaning import clean
from django_sse.log.entries import data_entry, entry_of
from django_sse.publishing import last_entries
from django_sse.runs.ends import encoder_of
from django_sse.streams.cleaner import REFUSED, Cleaner
from django_sse.streams.ends import say

if TYPE_CHECKING:
    from django_sse.dialects import AnswerEncoder
    from django_sse.log.base import Entry
    from django_sse.models import Run
    from django_sse.streams.ends import Ending
    from django_sse.wire.event import Event


class Entries:
    """The values of one run, and its end, through its encoder; in one thread at a time."""

    def __init__(self, run: Run, encoder: AnswerEncoder) -> None:
        self._run = run
        self._channel = run.channel
        self._encoder = encoder
        self._made = 0
        self._cleaner = Cleaner(f"The run {run.pk}")
        self.broken = False
        """Whether the log refused what the encoder has said. Whatever the encoder says next would
        not fit what the clients have, so the run can only end."""

    def of(self, item: Any) -> list[Entry]:
        """Return the entries of what the generator yielded. Raises what its encoding does."""
        try:
            if self._encoder.is_bare(item):
                return [data_entry(self._channel, item)]
            return self._events(item)
        except REFUSED as error:
            if self.broken:
                raise
            return self.of(self._cleaner.value(item, error, self._encoder))

    def _events(self, item: Any) -> list[Entry]:
        events = self._encoder.encode(item)
        try:
            entries = [self._entry(each) for each in events]
        except Exception:
            self.broken = not self._encoder.stateless
            raise
        self._made += len(entries)
        return entries

    def _entry(self, event: Event) -> Entry:
        try:
            return entry_of(self._channel, event)
        except REFUSED as error:
            return entry_of(self._channel, self._cleaner.cleaned(event, error))

    def last(self, ending: Ending) -> list[Entry]:
        """Return the entries that end the run."""
        own = [] if self.broken else [lambda: self._encoder]
        # The second is as another process would make it, from the number of events so far.
        return say(ending, [*own, lambda: encoder_of(self._run, self._made)], self._entries)

    def _entries(self, ending: Ending, events: list[Event]) -> list[Entry]:
        return last_entries(self._channel, ending.state, [clean(event) for event in events])
