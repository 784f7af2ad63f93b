from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from django_sse.exceptions import UpstreamLimitError
from django_sse.relay import relay
from django_sse.wire import Event
from tests.unit.test_relay import PATIENCE, Source, relayed, serving

# Short limits; a busy machine only makes them seem shorter.
SOON = 0.2
PING = b"event: ping\ndata: {}\n\n"


class Endless:
    """An upstream that always has the same chunk to read; with `seconds`, after so long."""

    def __init__(self, chunk: bytes, seconds: float | None = None) -> None:
        self.chunk = chunk
        self.seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self.seconds is not None:
                await asyncio.sleep(self.seconds)
            yield self.chunk


async def limit_of(source: Any, **options: Any) -> tuple[str, str, int]:
    """The limit that ends the answer, its message, and the number of values before."""
    count = 0
    async with asyncio.timeout(PATIENCE), aclosing(relay(source, **options)) as values:
        try:
            async for _ in values:
                count += 1
        except UpstreamLimitError as error:
            return error.limit, str(error), count
    raise AssertionError("the answer has ended without an error")


@pytest.mark.parametrize("seconds", [None, 0.001, 1000])
@pytest.mark.parametrize("chunk", [b":\n", b"", b"retry: 1\n\n", b"data: a\n\n"])
async def test_an_answer_takes_at_most_max_seconds(chunk: bytes, seconds: float | None) -> None:
    source = Endless(chunk, seconds)
    limit, message, _ = await limit_of(source, max_seconds=SOON, max_silence=None)
    assert (limit, message) == (
        "max_seconds",
        "The upstream's answer took more than 0.2 seconds.",
    )


@pytest.mark.parametrize("seconds", [None, 0.001, 1000])
@pytest.mark.parametrize("chunk", [b":\n", b"", b"retry: 1\n\n", PING, b'data: {"type":"x"}\n\n'])
async def test_comments_and_pings_do_not_count_as_content(
    chunk: bytes, seconds: float | None
) -> None:
    source = Endless(chunk, seconds)
    limit, message, count = await limit_of(source, dialect="anthropic", max_silence=SOON)
    assert (limit, count) == ("max_silence", 0)
    assert message == "The upstream sent nothing of its answer for 0.2 seconds."


async def test_content_ends_a_silence() -> None:
    go_on = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        while not go_on.is_set():
            yield b"data: a\n\n"
            await asyncio.sleep(0.01)

    count = 0
    async for _ in relay(source(), max_silence=PATIENCE / 2):
        count += 1
        if count == 10:
            go_on.set()
    assert count == 10


async def test_a_slow_reader_is_not_a_silent_upstream() -> None:
    source = Source(b"data: a\n\n", b"data: b\n\n")
    received = []
    async for event in relay(source, max_silence=SOON):
        received.append(event)
        await asyncio.sleep(2 * SOON)
    assert received == [Event("a"), Event("b")]


@pytest.mark.parametrize("size", [1, 5, 100, 1_000_000])
async def test_max_bytes_is_exact_in_any_cut(size: int) -> None:
    body = b"data: 5\n\n" * 10_000
    chunks = [body[start : start + size] for start in range(0, min(len(body), 50_000), size)]
    limit, message, count = await limit_of(Source(*chunks), max_bytes=9 * 7 + 8)
    assert (limit, count) == ("max_bytes", 7)
    assert message == "The upstream's answer has more than 71 bytes."
    whole = b"data: 5\n\n" * 7
    assert len([event async for event in relay(Source(whole), max_bytes=len(whole))]) == 7


@pytest.mark.parametrize("part", [b": " + b"x" * 100 + b"\n", b"data: a\n\n"])
async def test_over_a_limit_the_connection_is_closed(part: bytes) -> None:
    for options in ({"max_bytes": 10_000}, {"max_seconds": SOON}):
        limits: dict[str, Any] = options
        async with serving(part, then="repeat") as upstream:
            with pytest.raises(UpstreamLimitError):
                await relayed(upstream, **limits)
            await upstream.client_left.wait()


async def test_a_time_out_while_an_upstream_is_silent_closes_the_connection() -> None:
    async with serving(b"data: a\n\n", then="stay") as upstream:
        events: list[Event] = []
        with pytest.raises(UpstreamLimitError):
            await relayed(upstream, events, max_silence=SOON)
        await upstream.client_left.wait()
    assert events == [Event("a")]


async def test_none_is_no_limit() -> None:
    source = Source(b"data: a\n\n", b"data: b\n\n")
    events = relay(source, max_bytes=None, max_seconds=None, max_silence=None)
    assert [event async for event in events] == [Event("a"), Event("b")]


@pytest.mark.parametrize("name", ["max_bytes", "max_seconds", "max_silence"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
async def test_a_limit_must_be_above_0(name: str, value: float) -> None:
    source = Source()
    limits: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name} must be above 0"):
        [event async for event in relay(source, **limits)]
    assert source.closed
