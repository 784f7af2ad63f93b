"""The handle: a stream as a project holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_sse.streams.state import NEW

if TYPE_CHECKING:
    from django_sse.streams.stream import Stream


class Handle:
    """A stream as a project holds it: to iterate and to close, and nothing else."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._taken = False

    def __aiter__(self) -> Stream:
        return self._stream

    async def aclose(self) -> None:
        """End the stream."""
        self._stream.close()


def take_stream(handle: Handle) -> Stream:
    """Return the stream behind a handle, for the one response that it serves.

    Raises ``RuntimeError`` if the handle was used before: two clients would share a position.
    """
    if handle._taken or handle._stream.state is not NEW:
        raise RuntimeError(
            f"This {type(handle).__name__} was returned before, iterated or closed, and it serves "
            "one client. Call subscribe() in the view, for each request."
        )
    handle._taken = True
    return handle._stream
