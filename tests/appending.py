"""Appending to a log without a transaction, for tests: what it sequenced, or its error raised."""

from __future__ import annotations

from collections.abc import Sequence

from django_sse.exceptions import ChannelFinished
from django_sse.log.base import Appended, Entry, EventLog


def append_to(log: EventLog, entries: Sequence[Entry]) -> list[Appended]:
    """Append ``entries``, all or none. Raises ``ChannelFinished``."""
    appended, (outcome,) = log.append_each([entries])
    if isinstance(outcome, Exception):
        raise outcome
    return appended


def finish_in(log: EventLog, entry: Entry) -> list[Appended]:
    """Append the terminal ``entry``; empty when the channel has ended before."""
    try:
        return append_to(log, [entry])
    except ChannelFinished:
        return []
