"""The driver of a stream; ``django_sse.streams.state`` describes the two kinds."""

from __future__ import annotations


class Driver:
    """A stream's way to its client. This one only iterates, as Django's handlers do."""

    pushes = False
    """Whether ``ready`` sends what a parked stream has. Only then does a stream park."""

    drops = False
    """Whether ``stalled`` ends the connection."""

    def ready(self) -> None:
        """Send what the parked stream has; called on the loop by whatever woke the stream."""

    def acknowledges(self, seconds: float) -> bool:
        """Whether the client, or its kernel, has taken something of what it was sent in the last
        ``seconds``. True if there was nothing to take, and where nothing tells."""
        return True

    def stalled(self) -> None:
        """Drop the client, which has taken nothing for ``SEND_TIMEOUT``. The stream is closed."""


ITERATES = Driver()
"""The driver of a stream that nothing but its reader drives."""
