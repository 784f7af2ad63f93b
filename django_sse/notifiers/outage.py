"""A transport that is away: when to try again, and to say it once."""

from __future__ import annotations

import logging
import math
import random
import time

logger = logging.getLogger("django_sse")

_FIRST_PAUSE = 0.1
# Seconds: the most that passes between a transport's return and the first wake-up.
_LONGEST_PAUSE = 2.0
# One that is away again sooner was never quite back: that is not said a second time.
_STABLE_AFTER = 30.0


class Outage:
    """Counts the failures of one connection; not for several threads.

    ``what`` begins the line in the log, such as "The channel layer 'default' cannot be heard".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0
        self._back_at = -math.inf
        self.away = False
        """Whether the last attempt failed."""

    def failed(self, error: BaseException) -> float:
        """Seconds to wait before the next attempt. The first failure of an outage is logged."""
        if not self.away and time.monotonic() - self._back_at > _STABLE_AFTER:
            self._failures = 0
            logger.warning(
                "%s: %s: %s. It is tried again until it works; meanwhile the safety poll finds "
                "what is new.",
                self._what,
                type(error).__name__,
                error,
            )
        self.away = True
        # No more than 2 ** 10: the pause has long reached its limit, and numbers stay small.
        pause = min(_FIRST_PAUSE * 2.0 ** min(self._failures, 10), _LONGEST_PAUSE)
        self._failures += 1
        # Not all processes at the same moment at a server that has just come back.
        return pause * random.uniform(0.5, 1.0)

    def over(self) -> None:
        """It works."""
        if self.away:
            self.away = False
            self._back_at = time.monotonic()
            logger.info("%s: that is over.", self._what)
