"""Sequencing of committed events on behalf of readers.

A reader never waits for a publisher, and a channel that cannot be sequenced does not block others.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from django_sse.exceptions import LogUnavailable
from django_sse.hub.registry import announce
from django_sse.log import get_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_sse.log.base import EventLog

logger = logging.getLogger("django_sse")

# The number of channels that a log message names.
_NAMED = 10
# The number of channels in one query, and the number of such queries in a poll.
_PAGE = 100
_PAGES = 10


def catch_up(channels: Sequence[str]) -> None:
    """Sequence and announce the outbox events of ``channels``, if that is possible."""
    # A database that is read-only or full can still be read. The safety poll logs the error.
    with suppress(LogUnavailable):
        announce(get_log().sequence(channels))


class Orphans:
    """Events whose publisher died between its commit and the hook that sequences them.

    Each hub has its own instance.
    """

    def __init__(self) -> None:
        self._stuck = False
        # The last channel of the last page, if there may be more.
        self._after = ""

    def sequence(self) -> None:
        """Sequence and announce the orphans of all channels; log a failure once while it lasts.

        If there are very many, the next call continues with the rest. Raises ``LogUnavailable`` if
        the log cannot be read.
        """
        log = get_log()
        failed: dict[str, Exception] = {}
        for _ in range(_PAGES):
            found = log.orphans(_PAGE, after=self._after)
            failed |= _sequence(log, found)
            # Channels that cannot be sequenced must not block the others.
            self._after = found[-1] if len(found) == _PAGE else ""
            if not self._after:
                break
        if failed and not self._stuck:
            error = next(iter(failed.values()))
            logger.warning(
                "Committed events of %s could not be numbered; retrying: %s",
                ", ".join(map(repr, list(failed)[:_NAMED])),
                error,
                exc_info=None if isinstance(error, LogUnavailable) else error,
            )
        self._stuck = bool(failed)


def _sequence(log: EventLog, channels: Sequence[str]) -> dict[str, Exception]:
    """Sequence and announce the outbox events of ``channels``; return the error of each failure."""
    try:
        if channels:
            announce(log.sequence(channels))
    except Exception as error:
        if len(channels) == 1 or isinstance(error, LogUnavailable):
            return dict.fromkeys(channels, error)
        failed: dict[str, Exception] = {}
        # Try them separately: the error may concern only one of them.
        for each in channels:
            failed |= _sequence(log, [each])
        return failed
    return {}
