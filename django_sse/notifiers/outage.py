"""A transport's outage: when to retry, and logging it once."""

from __future__ import annotations

import logging
import math
import random
import time

logger = logging.getLogger("django_sse")

_FIRST_PAUSE = 0.1
# Seconds: the longest time between a transport's recovery and the first wake-up.
_LONGEST_PAUSE = 2.0
# Seconds: a transport that fails again sooner had not recovered, so that is not logged again.
_STABLE_AFTER = 30.0


class Outage:
    """The failures of one connection, counted; not thread-safe.

    ``what`` begins the log messages: "Cannot receive from the channel layer 'default'", say.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0
        self._back_at = -math.inf
        self.away = False
        """Whether the last attempt failed."""

    def failed(self, error: BaseException) -> float:
        """Return the seconds to wait before the next attempt; log an outage's first failure."""
        if not self.away and time.monotonic() - self._back_at > _STABLE_AFTER:
            self._failures = 0
            logger.warning(
                "%s: %s: %s. Retrying until it works; meanwhile the safety poll finds new events.",
                self._what,
                type(error).__name__,
                error,
            )
        self.away = True
        # At most 2 ** 10: the pause has reached its limit by then, and the numbers stay small.
        pause = min(_FIRST_PAUSE * 2.0 ** min(self._failures, 10), _LONGEST_PAUSE)
        self._failures += 1
        # Random, so that not all processes connect to a recovered server at the same moment.
        return pause * random.uniform(0.5, 1.0)

    def over(self) -> None:
        """Note that the transport works; log it if there was an outage."""
        if self.away:
            self.away = False
            self._back_at = time.monotonic()
            logger.info("%s: the outage is over.", self._what)
