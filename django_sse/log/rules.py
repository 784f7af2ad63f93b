"""Rules that all logs share, about pages and ends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django_sse.exceptions import ChannelFinished
from django_sse.log.base import PAGE_CHARACTERS, TERMINAL, EventLog
from django_sse.signals import events_dropped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from django_sse.log.base import Entry

logger = logging.getLogger("django_sse")


def fitting(sizes: Iterable[int]) -> int:
    """Return how many of the events with these ``sizes`` fit in a page, at least one."""
    total = 0
    count = 0
    for size in sizes:
        total += size
        if count and total > PAGE_CHARACTERS:
            break
        count += 1
    return count


def refuse_after_end(entries: Iterable[Entry], ended: Mapping[str, str]) -> None:
    """Raise ``ChannelFinished`` for an entry after the end of its channel.

    ``ended`` maps channels that have ended to their states; the ``entries`` may contain an end,
    too.
    """
    states = dict(ended)
    for entry in entries:
        if state := states.get(entry.channel):
            raise ChannelFinished.of(entry.channel, state)
        if entry.kind == TERMINAL:
            states[entry.channel] = entry.state


def report_dropped(channel: str, count: int) -> None:
    """Log and signal that deferred events came after the channel's end and were dropped."""
    logger.warning(
        "Dropped %d events for the channel %r: they were committed after it had finished.",
        count,
        channel,
    )
    # Robust: the events sequenced beside them are committed and must still be announced.
    events_dropped.send_robust(EventLog, channel=channel, count=count)
