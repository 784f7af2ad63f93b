"""What the endpoints answer: plain values, in which no vendor can be seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from django_sse.dialects import Start, ToolCall, ToolCallDelta, Usage, Value
from django_sse.exceptions import StreamError

from ..pace import paced
from ..upstream.composer import compose, tokens

SECONDS_A_VALUE = 0.05
START = Start(model="stand-in")
FAILURE = "The stand-in was asked to fail."
# One call as a model streams it, in pieces of JSON, and one that is whole.
CALLS = (
    ToolCallDelta("call_weather", '{"city": "Zür', name="weather"),
    ToolCallDelta("call_weather", 'ich", "days": 3}'),
    ToolCall("call_clock", "clock", {"zone": "Europe/Zurich"}),
)


async def answer(prompt: str, start: Start = START) -> AsyncIterator[Value]:
    """An answer at a human pace.

    The word ``fail`` in the prompt makes it fail in the middle; ``tool`` makes it call two.
    """
    yield start
    values, fails = script(prompt)
    for value in values:
        yield value
        await asyncio.sleep(paced(SECONDS_A_VALUE))
    if fails:
        raise StreamError(FAILURE)


def script(prompt: str) -> tuple[list[Value], bool]:
    """The values that answer ``prompt``, always the same, and whether it fails after them."""
    words = prompt.lower().split()
    if "tool" in words:
        return [*CALLS, Usage(9, len(CALLS))], False
    pieces = tokens(compose(prompt))
    if "fail" in words:
        return [*pieces[: len(pieces) // 2]], True
    return [*pieces, Usage(9, len(pieces))], False
