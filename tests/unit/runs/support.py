"""What the tests of runs share: runs without a view, and clients of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from asgiref.sync import sync_to_async

from django_sse.dialects import AnswerEncoder, Dialect, get_dialect
from django_sse.dialects.plain import Plain
from django_sse.exceptions import ChannelFinished, UpstreamError
from django_sse.hub.registry import announce
from django_sse.log import get_log
from django_sse.log.base import Kind, State
from django_sse.log.entries import as_event, entry_of
from django_sse.models import Run
from django_sse.process import database
from django_sse.publishing import last_entries
from django_sse.runs import ends, leases, store
from django_sse.runs.lost import end_lost
from django_sse.runs.start import start
from django_sse.runs.stream import RunStream
from django_sse.runs.task import RunTask
from django_sse.wire import Event
from tests.appending import append_to
from tests.unit.hub.support import Client
from tests.unit.log.support import Stored, everything

TIMEOUT = 60.0
OWNER = "user:1"
INTERRUPTED = {
    "error": "The server was stopped before the answer was complete.",
    "code": "interrupted",
}
ABORTED = {"error": "The stream was aborted.", "code": "aborted"}


class Answer:
    """A generator whose test says when it goes on, and that notes how it ended."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self._more = asyncio.Semaphore(0)

    def go_on(self, items: int = 1) -> None:
        for _ in range(items):
            self._more.release()

    async def items(self, count: int = 1_000_000) -> AsyncIterator[str]:
        """The first at once, each other when it is let."""
        self.began.set()
        try:
            for number in range(count):
                yield f"token {number}"
                await self._more.acquire()
        except asyncio.CancelledError:
            self.notes.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0)
            self.notes.append("ended")
            self.ended.set()


async def tokens(count: int) -> AsyncIterator[str]:
    for number in range(count):
        yield f"token {number}"


async def begin(
    source: Any,
    *,
    owner: str = OWNER,
    dialect: str | Dialect | None = None,
    while_connected: bool = False,
    on_error: Callable[[BaseException], None] = lambda error: None,
    encoder: AnswerEncoder | None = None,
) -> RunTask:
    """A run of ``source`` in this process."""
    spoken = Plain() if dialect is None else get_dialect(dialect)
    return await start(
        source,
        encoder or spoken.encoder(),
        owner=owner,
        dialect=ends.name_of(spoken),
        while_connected=while_connected,
        on_error=on_error,
    )


async def over(task: RunTask) -> None:
    """Wait until the run has its end and its generator has stopped."""
    is_over = asyncio.Event()
    task.when_over(is_over.set)
    async with asyncio.timeout(TIMEOUT):
        await is_over.wait()


async def arecords(run: Run) -> list[Stored]:
    """All that the log has of a run."""
    return await database.run(everything, get_log(), run.channel)


async def atexts(run: Run) -> list[str]:
    return [record.data for record in await arecords(run)]


async def astate(run: Run) -> str:
    return (await database.run(store.state, run))[0]


async def until(run: Run, state: str) -> None:
    """Wait until the run's channel has this state."""
    async with asyncio.timeout(TIMEOUT):
        while await astate(run) != state:  # noqa: ASYNC110 - the log tells nobody here
            await asyncio.sleep(0.02)


def terminals(records: list[Stored]) -> list[Stored]:
    return [record for record in records if record.kind == Kind.TERMINAL]


def say(run: Run, data: Any) -> None:
    """Append to what ``run`` has said; ``publish`` refuses its channel."""
    announce(append_to(get_log(), [entry_of(run.channel, as_event(data))]))


async def asay(run: Run, data: Any) -> None:
    await database.write(say, run, data)


def end(channel: str, state: State, events: Sequence[Event]) -> bool:
    """End a run's channel; False if it has ended."""
    try:
        announce(append_to(get_log(), last_entries(channel, state, events)))
    except ChannelFinished:
        return False
    return True


async def aend(run: Run, state: State, event: Event) -> bool:
    """End ``run`` as another process does."""
    return await database.write(end, run.channel, state, [event])


def new_run(
    owner: str = OWNER,
    *,
    dialect: str = "plain",
    while_connected: bool = False,
    lease: UUID | None = None,
) -> Run:
    """A run without a task, with its own lease that no process renews."""
    if lease is None:
        lease = uuid4()
        leases.register(lease)
    return store.create(owner, lease=lease, dialect=dialect, while_connected=while_connected)


anew_run = sync_to_async(new_run)


def renew(run: Run) -> bool:
    """Renew the lease of ``run``, as its process does."""
    return leases.renew(run.lease)


def die(*runs: Run) -> None:
    """End the runs as another process does when their leases have not changed for too long."""
    seen = leases.seen()
    for run in runs:
        if found := seen.get(run.lease):
            end_lost(run.lease, found.value)


def stream_of_run(run: Run, last_event_id: str | None, **options: Any) -> RunStream:
    """The stream of a client that brings this position."""
    stream = RunStream(run, ends.dialect_of(run), **options)
    stream.last_event_id = last_event_id
    return stream


@asynccontextmanager
async def watching(
    run: Run, last_event_id: str | None = None, **options: Any
) -> AsyncIterator[Client]:
    """A client of a run, whose request has been answered with a stream."""
    stream = stream_of_run(run, last_event_id, **options)
    assert await database.run(stream.settle), "the run has nothing to give"
    try:
        yield Client(stream)
    finally:
        stream.close()


async def settles(run: Run, last_event_id: str | None) -> bool:
    """Whether a client that brings this is given a stream; else 204."""
    stream = stream_of_run(run, last_event_id)
    try:
        return await database.run(stream.settle)
    finally:
        stream.close()


def failures(name: str, events: Iterable[Event]) -> int:
    """How many of the events tell, in the dialect, that the answer broke off."""
    decoder = get_dialect(name).decoder()
    count = 0
    for event in events:
        try:
            decoder.decode(event)
        except UpstreamError:
            count += 1
    return count
