"""The limits of one upstream: bytes, seconds, silence, and time on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Final, TypeVar

from django_sse.exceptions import UpstreamLimitError

#: Bytes of a body after decompression. An answer of 200,000 tokens, an event each, has 80 MB.
MAX_BYTES: Final = 128 * 1024 * 1024
#: Seconds from the first request for an event to the answer's end; as RUN_SECONDS.
MAX_SECONDS: Final = 6 * 3600.0
#: Seconds without anything to pass on. The vendors' own SDKs wait for as long.
MAX_SILENCE: Final = 600.0

# The time after which the other tasks of the event loop get a turn. One event can take another
# 15 ms (django_sse.dialects.json_text), and a step on the loop may take 20 ms.
_TURN: Final = 0.001

_T = TypeVar("_T")


class Limits:
    """The limits of one answer. None stands for no limit.

    Raises ``ValueError`` for a limit that is not above 0.
    """

    def __init__(
        self, max_bytes: int | None, max_seconds: float | None, max_silence: float | None
    ) -> None:
        given = {"max_bytes": max_bytes, "max_seconds": max_seconds, "max_silence": max_silence}
        for name, limit in given.items():
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} must be above 0, or None for no limit")
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._max_silence = max_silence
        self._bytes = 0
        self._start = self._content = monotonic()
        # When this task began its step on the event loop; None if the loop has run since.
        self._step: float | None = None
        self._begin_step()

    def note_content(self) -> None:
        """Note that something of the answer was passed on."""
        self._content = monotonic()

    def cut(self, piece: bytes) -> tuple[bytes, UpstreamLimitError | None]:
        """Return as much of the piece as ``max_bytes`` allows, and the error to raise after it."""
        self._bytes += len(piece)
        if self._max_bytes is None or self._bytes <= self._max_bytes:
            return piece, None
        excess = self._bytes - self._max_bytes
        message = f"The upstream's answer has more than {self._max_bytes} bytes."
        return piece[: len(piece) - excess], UpstreamLimitError("max_bytes", message)

    async def next(self, pieces: AsyncIterator[_T]) -> _T | None:
        """Return the next piece, or None at the end.

        Raises ``UpstreamLimitError`` if it does not come in time.
        """
        left = self._seconds_left()
        try:
            async with asyncio.timeout(left) as timeout:
                # An upstream that always has something to read never lets the time-out happen.
                if left is not None and left <= 0:
                    raise self._too_late()
                return await anext(pieces, None)
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise self._too_late() from error

    async def give_turn(self) -> None:
        """Let the other tasks of the event loop run, if this one has run for long enough."""
        if self._step is None:
            self._begin_step()
        elif monotonic() - self._step >= _TURN:
            await asyncio.sleep(0)

    def _begin_step(self) -> None:
        self._step = monotonic()
        # Also tells when the others had their turn because this task waited for something.
        asyncio.get_running_loop().call_soon(self._end_step)

    def _end_step(self) -> None:
        self._step = None

    def _seconds_left(self) -> float | None:
        left, now = [], monotonic()
        if self._max_seconds is not None:
            left.append(self._start + self._max_seconds - now)
        if self._max_silence is not None:
            left.append(self._content + self._max_silence - now)
        return min(left, default=None)

    def _too_late(self) -> UpstreamLimitError:
        silent, now = self._max_silence, monotonic()
        if silent is not None and now >= self._content + silent:
            message = f"The upstream sent nothing of its answer for {silent:g} seconds."
            return UpstreamLimitError("max_silence", message)
        message = f"The upstream's answer took more than {self._max_seconds:g} seconds."
        return UpstreamLimitError("max_seconds", message)
