"""The driver of a stream; ``django_sse.streams.state`` describes the two kinds."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django_sse.streams.stream import Stream

logger = logging.getLogger("django_sse")


class Driver:
    """A stream's way to its client. This one only iterates, as Django's handlers do."""

    pushes = False
    """Whether ``ready`` sends what a parked stream has. Only then does a stream park."""

    drops = False
    """Whether ``stalled`` ends the connection."""

    def ready(self) -> None:
        """Send what the parked stream has; called on the loop by whatever woke the stream."""

    def drop_if_stuck(self, stream: Stream, seconds: float) -> bool:
        """Drop a client that has not taken one write for ``seconds``; return whether it was."""
        since, loop = stream.sending_since, stream.loop
        stuck = since is not None and loop is not None and loop.time() - since > seconds
        if stuck:
            self._drop(stream, "read", seconds)
        return stuck

    def drop_unless_taking(self, stream: Stream, seconds: float) -> None:
        """Drop a client that has taken nothing of what it was sent for ``seconds``."""
        stuck = self.drop_if_stuck(stream, seconds)
        if not (stuck or stream.closed or self.acknowledges(seconds)):
            self._drop(stream, "acknowledged", seconds)

    def _drop(self, stream: Stream, has_not: str, seconds: float) -> None:
        logger.info("A client has %s nothing for %s s.", has_not, seconds)
        stream.close()
        self.stalled()

    def acknowledges(self, seconds: float) -> bool:
        """Whether the client, or its kernel, has taken something of what it was sent in the last
        ``seconds``. True if there was nothing to take, and where nothing tells."""
        return True

    def stalled(self) -> None:
        """Drop the client, which has taken nothing for ``SEND_TIMEOUT``. The stream is closed."""


ITERATES = Driver()
"""The driver of a stream that nothing but its reader drives."""
