"""Streams of generators, and generators that tell how far they came."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing, suppress
from typing import Any

from django_sse import Event
from django_sse.dialects.plain import DONE, Plain
from django_sse.streams.generator import GeneratorStream

CLOSE = b"id: !end\nevent: close\ndata: [DONE]\n\n"
FAILED = b'id: !end\nevent: error\ndata: {"error":"The stream failed.","code":"error"}\n\n'
HEARTBEAT = b":\n"


class Errors(list[BaseException]):
    """What was reported; `reported` is set with the first."""

    def __init__(self) -> None:
        super().__init__()
        self.reported = threading.Event()

    def append(self, error: BaseException) -> None:
        super().append(error)
        self.reported.set()


def make(source: Any, errors: Errors | None = None, terminal: Event | None = DONE) -> Any:
    report = Errors() if errors is None else errors
    return GeneratorStream(source, Plain(terminal), on_error=report.append)


async def read(stream: GeneratorStream) -> bytes:
    """All that is sent, without the heartbeats."""
    return b"".join([chunk async for chunk in stream if chunk != HEARTBEAT])


async def chunk_of(stream: GeneratorStream) -> bytes:
    """What is sent next, but for heartbeats."""
    async for chunk in stream:
        if chunk != HEARTBEAT:
            return chunk
    raise EOFError


def frame(text: object) -> bytes:
    return b"data: %s\n\n" % str(text).encode()


async def as_async(source: Generator[Any]) -> AsyncIterator[Any]:
    """The same generator, async: an error at its yield is raised in ``source``."""
    with closing(source), suppress(StopIteration):
        item = next(source)
        while True:
            try:
                yield item
            except Exception as error:
                item = source.throw(error)
            else:
                item = next(source)


def in_form(sync: bool, source: Generator[Any]) -> Any:
    """A generator as it is, or as an async one."""
    return source if sync else as_async(source)


class Walk:
    """A generator's way, watched from the test: async or sync."""

    def __init__(self, fail: BaseException | None = None) -> None:
        self.made = 0
        self.fail = fail
        self.began = asyncio.Event()
        self.ended = threading.Event()

    async def endless(self) -> AsyncIterator[str]:
        try:
            while True:
                self.made += 1
                yield str(self.made)
        finally:
            await self._leave()

    async def waiting(self) -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            await self._leave()

    async def opening(self) -> AsyncIterator[str]:
        self.began.set()
        try:
            await asyncio.Event().wait()
            yield "never"
        finally:
            await self._leave()

    async def _leave(self) -> None:
        await asyncio.sleep(0)
        self.leave()

    def endless_sync(self) -> Iterator[str]:
        try:
            while True:
                self.made += 1
                yield str(self.made)
        finally:
            self.leave()

    def leave(self) -> None:
        self.ended.set()
        if self.fail is not None:
            raise self.fail

    async def wait_for_end(self) -> None:
        assert await asyncio.to_thread(self.ended.wait, 30)
