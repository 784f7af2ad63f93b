"""What was committed and not yet sequenced, on behalf of who reads: nobody here waits for a
publisher, and what cannot be sequenced keeps nobody from the rest."""

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

# Channels that one line of the log names.
_NAMED = 10


def catch_up(channels: Sequence[str]) -> None:
    """Sequence and announce what waits for ``channels``, as far as that can be done."""
    # A database that is read-only, or full, is read all the same; the safety poll tells of it.
    with suppress(LogUnavailable):
        announce(get_log().sequence(channels, wait=False))


class Orphans:
    """The events whose publisher died between its commit and the hook that sequences, of all
    channels; one hub's view of them."""

    def __init__(self) -> None:
        self._stuck = False

    def sequence(self) -> None:
        """Sequence and announce them. What cannot be is said once while it lasts.

        Raises ``LogUnavailable`` when the log cannot be read.
        """
        log = get_log()
        failed = _sequence(log, log.orphans())
        if failed and not self._stuck:
            error = next(iter(failed.values()))
            logger.warning(
                "Committed events of %s could not be numbered; it is tried again: %s",
                ", ".join(map(repr, list(failed)[:_NAMED])),
                error,
                exc_info=None if isinstance(error, LogUnavailable) else error,
            )
        self._stuck = bool(failed)


def _sequence(log: EventLog, channels: Sequence[str]) -> dict[str, Exception]:
    """Sequence and announce what waits for ``channels``; those for which it failed, and why."""
    try:
        if channels:
            announce(log.sequence(channels, wait=False))
    except Exception as error:
        if len(channels) == 1 or isinstance(error, LogUnavailable):
            return dict.fromkeys(channels, error)
        failed: dict[str, Exception] = {}
        # What one of them meets, the others do not.
        for each in channels:
            failed |= _sequence(log, [each])
        return failed
    return {}
