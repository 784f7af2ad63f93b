"""For the synchronous test client a stream is read ahead.

Inside a ``TestCase`` only the test's own thread sees what its transaction wrote, and between two
calls of the client that thread runs the test, not the stream. In other tests, a stream on the
background loop would outlive its test, and look at the database in the middle of the next. So the
stream runs while the client waits for it, as long as it lasts, and what it sent is the body.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SECONDS = 5.0
"""How long a stream is read ahead."""


class ReadAhead:
    """What a stream sent. Raises ``TimeoutError`` behind it if that was not all."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._complete = False

    @classmethod
    async def of(cls, body: AsyncIterator[bytes]) -> ReadAhead:
        """Read ``body`` to its end, or for ``SECONDS``."""
        ahead = cls()
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                async for chunk in body:
                    ahead._chunks.append(chunk)
                ahead._complete = True
        return ahead

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if not self._complete:
            raise TimeoutError(
                f"The stream has not ended after {SECONDS:g} s, so the synchronous test client "
                "cannot read it whole. Read a number of events, django_sse.testing.read(response, "
                "count), or use self.async_client and aread() in an async test."
            )
