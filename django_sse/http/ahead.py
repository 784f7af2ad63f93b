"""Reading a stream ahead, for the synchronous test client.

Inside a ``TestCase`` only the test's own thread sees what its transaction wrote, and between two
calls of the client that thread runs the test, not the stream. In other tests a stream on the
background loop would outlive its test and query the database during the next one. So the whole
stream runs while the client waits for its response, and the chunks it sent are the body.
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
    """The chunks that a stream sent.

    Iterating raises ``TimeoutError`` after the last of them if the stream had not ended.
    """

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
                "cannot read all of it. Read a number of events with django_sse.testing.read("
                "response, count), or use self.async_client and aread() in an async test."
            )
