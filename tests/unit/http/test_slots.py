"""Each stream has a slot from before its headers until it has ended, however it ends."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from django_sse import EventStreamResponse, event_stream, subscribe
from django_sse.streams.driver import Driver
from django_sse.streams.ends import TERMINAL_ID
from django_sse.trust import slots
from tests.unit.http.support import asgi_request, body, events, first, wsgi_request
from tests.unit.hub.support import eventually

pytestmark = pytest.mark.usefixtures("live")

TIMEOUT = 60.0
ACCEPT = {"Accept": "text/event-stream"}


@pytest.fixture(autouse=True)
async def _all_are_given_back(live: None) -> AsyncIterator[None]:
    gc.collect()
    assert not slots._all
    yield
    await eventually(lambda: not slots._all)
    assert not slots._of_owner


def mine(request: HttpRequest) -> HttpRequest:
    request.user = User(pk=1)
    return request


@event_stream
async def waits(request: HttpRequest) -> AsyncIterator[str]:
    yield "one"
    await asyncio.Event().wait()


@event_stream
async def ends(request: HttpRequest) -> AsyncIterator[str]:
    yield "one"


@event_stream
def ends_sync(request: HttpRequest) -> Iterator[str]:
    yield "one"


@event_stream
async def fails_at_once(request: HttpRequest) -> AsyncIterator[str]:
    raise Http404
    yield "never"


@event_stream
async def fails_later(request: HttpRequest) -> AsyncIterator[str]:
    yield "one"
    raise RuntimeError


@event_stream
async def channel(request: HttpRequest) -> Any:
    return subscribe("a")


@event_stream(resumable=True)
async def run(request: HttpRequest) -> AsyncIterator[str]:
    yield "one"


async def by_hand(request: HttpRequest) -> EventStreamResponse:
    async def items() -> AsyncIterator[str]:
        yield "one"
        await asyncio.Event().wait()

    return EventStreamResponse(items(), request=request)


# -- the ends


@pytest.mark.parametrize("view", [ends, fails_later])
async def test_its_source_ends_or_fails(view: Any) -> None:
    response = await view(asgi_request())
    assert len(slots._all) == 1
    await body(response)
    await eventually(lambda: not slots._all)


# The background loop beats as it began: slowly, and later tests would wait for its next beat.
@pytest.mark.options(HEARTBEAT=0.1)
async def test_a_sync_source_ends() -> None:
    response = await asyncio.to_thread(ends_sync, wsgi_request())
    assert len(slots._all) == 1
    assert await asyncio.to_thread(lambda: b"".join(response)) != b""


@pytest.mark.parametrize("view", [waits, channel, by_hand])
async def test_its_client_leaves(view: Any) -> None:
    response = await view(asgi_request())
    chunks = aiter(response)
    await anext(chunks)
    assert len(slots._all) == 1
    response.close()


@pytest.mark.parametrize("view", [waits, channel, by_hand])
async def test_its_client_leaves_before_anybody_reads_it(view: Any) -> None:
    response = await view(asgi_request())
    assert len(slots._all) == (view is not by_hand)
    del response


async def test_its_client_leaves_before_the_headers() -> None:
    @event_stream
    async def opens(request: HttpRequest) -> AsyncIterator[str]:
        began.set()
        await asyncio.Event().wait()
        yield "never"

    began = asyncio.Event()
    task = asyncio.create_task(opens(asgi_request()))
    await began.wait()
    assert len(slots._all) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("in_thread", [True, False])
async def test_its_generator_goes_on_when_its_client_has_left(in_thread: bool) -> None:
    @event_stream
    async def works(request: HttpRequest) -> AsyncIterator[str]:
        yield "one"
        busy.set()
        if in_thread:
            await sync_to_async(go_on.wait)(TIMEOUT)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(go_on.wait, TIMEOUT)

    busy, go_on = asyncio.Event(), threading.Event()
    response = await works(asgi_request())
    chunks = aiter(response)
    await anext(chunks)
    await busy.wait()
    response.close()
    await asyncio.sleep(0)
    assert len(slots._all) == 1
    go_on.set()


async def test_its_view_fails_after_it_made_one() -> None:
    @event_stream
    async def changes_its_mind(request: HttpRequest) -> Any:
        kept = await channel(request)
        assert len(slots._all) == 1
        raise Http404(str(type(kept)))

    gc.disable()
    try:
        with suppress(Http404):
            await changes_its_mind(asgi_request())
        await eventually(lambda: not slots._all)
    finally:
        gc.enable()


async def test_a_middleware_that_wraps_it_fails() -> None:
    async def wrap(parts: Any) -> AsyncIterator[bytes]:
        async for part in parts:
            yield part
            raise RuntimeError

    response = await channel(asgi_request())
    response.streaming_content = wrap(response.streaming_content)
    parts = aiter(response)
    await anext(parts)
    assert len(slots._all) == 1
    with pytest.raises(RuntimeError):
        await anext(parts)
    await eventually(lambda: not slots._all)
    # Its own finalizer had no part in it.
    assert response.stream.closed


async def test_it_fails_before_the_headers() -> None:
    with pytest.raises(Http404) as kept:
        await fails_at_once(asgi_request())
    # While somebody still looks at the error.
    await eventually(lambda: not slots._all)
    assert kept.tb is not None


async def test_a_middleware_puts_something_else_in_its_place() -> None:
    response = await waits(asgi_request())
    response.streaming_content = iter([b"other"])
    assert len(slots._all) == 1
    response.close()


async def test_there_is_no_stream_to_open() -> None:
    for request in asgi_request("HEAD"), asgi_request(Last_Event_ID=TERMINAL_ID):
        assert (await channel(request)).status_code in (200, 204)
        assert (await by_hand(request)).status_code in (200, 204)
        assert not slots._all


# -- beyond the limits


def told(response: HttpResponseBase) -> tuple[int, str | None]:
    return response.status_code, response.headers.get("Retry-After")


@pytest.mark.options(STREAMS_PER_PROCESS=1)
async def test_one_more_than_the_process_may_have_is_told_to_come_back() -> None:
    taken = await waits(asgi_request())
    assert told(await waits(asgi_request())) == (503, "2")
    response = await waits(asgi_request(**ACCEPT))
    assert response.status_code == 200
    assert b"event: stream-retry" in response.content
    assert response.headers["Connection"] == "close"
    taken.close()
    (await waits(asgi_request())).close()


@pytest.mark.options(STREAMS_PER_OWNER=1)
async def test_one_more_than_an_owner_may_have_is_told_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "_TAKES", 0.01)
    taken = await waits(mine(asgi_request()))
    assert told(await channel(mine(asgi_request()))) == (429, "2")
    response = await channel(mine(asgi_request(**ACCEPT)))
    assert response.status_code == 200
    assert b"event: stream-retry" in response.content
    # The others are not concerned.
    (await waits(asgi_request())).close()
    taken.close()
    (await channel(mine(asgi_request()))).close()


class Vanished(Driver):
    """The way to a client that acknowledges nothing."""

    def acknowledges(self, seconds: float) -> bool:
        return False


@pytest.mark.options(SYNC_GENERATORS=4)
@pytest.mark.parametrize("in_thread", [False, True])
async def test_the_thread_of_a_ghost_is_given_to_its_owners_next_stream(
    in_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    @event_stream
    def ticks_sync(request: HttpRequest) -> Iterator[str]:
        while True:
            yield "tick"

    @event_stream
    async def ticks(request: HttpRequest) -> Any:
        return iter(lambda: "tick", None)

    monkeypatch.setattr(slots, "_TAKES", 0.01)
    ghost = await ticks(mine(asgi_request()))
    await anext(aiter(ghost))
    # Its client has taken that.
    ghost.stream.sending_since = None
    if in_thread:
        refused = await asyncio.to_thread(ticks_sync, mine(wsgi_request()))
    else:
        refused = await ticks(mine(asgi_request()))
    assert told(refused) == (429, "2")
    monkeypatch.setattr(slots, "_ASKED_FOR", 0.0)
    ghost.stream.driver = Vanished()
    if in_thread:
        response = await asyncio.to_thread(ticks_sync, mine(wsgi_request()))
    else:
        response = await ticks(mine(asgi_request()))
    assert response.status_code == 200
    assert ghost.stream.closed
    response.close()


@pytest.mark.options(STREAMS_PER_PROCESS=1)
async def test_after_the_headers_the_stream_itself_says_so() -> None:
    taken = await waits(asgi_request())
    response = await by_hand(asgi_request())
    assert [event.type for event in await events(response)] == ["stream-retry"]
    taken.close()


@pytest.mark.options(STREAMS_PER_PROCESS=1)
async def test_a_run_does_not_begin_without_a_slot_for_its_stream() -> None:
    from django_sse.models import Run

    taken = await waits(asgi_request())
    assert told(await run(mine(asgi_request("POST")))) == (503, "2")
    assert not await Run.objects.aexists()
    taken.close()
    response = await run(mine(asgi_request("POST")))
    assert [event.data for event in await first(response, 2)][1] == "one"
