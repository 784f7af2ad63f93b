"""For the tests of projects that stream and publish.

::

    class OrderTests(TestCase):
        async def test_a_payment_is_streamed(self):
            response = await self.async_client.get("/orders/7/events/")
            await self.async_client.post("/orders/7/pay/")
            [event] = await aread(response, 1)
            self.assertEqual((event.type, event.data), ("status", '{"status":"paid"}'))

        def test_a_payment_is_published(self):
            self.client.post("/orders/7/pay/")
            self.assertEqual(published("order-7"), [("status", '{"status":"paid"}')])

A stream's position is settled by the request, so what is published between ``get`` and ``aread`` is
read. Publish before reading: ``aread`` waits for its events, and closes the stream behind them.

**In a ``TestCase``** (and with pytest-django's ``db``) nothing is ever committed, so ``publish``
numbers its events at once, and what a stream asks the database is asked on the test's own thread.

**With the synchronous client** a generator runs while the client waits for its response, to its end
or for five seconds: for one that goes on for ever use ``self.async_client``.

**In an async test under pytest-asyncio** pytest-django's ``db`` does not hold what coroutines
write, as with any use of the ORM there: mark it ``django_db(transaction=True)``, or use
``memory_log``.

**Without a database** (``SimpleTestCase``, plain pytest): ``memory_log``.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.http import StreamingHttpResponse
from django.test.utils import TestContextDecorator, override_settings

from django_sse import conf, constants
from django_sse.http import EventStreamResponse
from django_sse.log import get_log
from django_sse.log.base import Kind
from django_sse.log.entries import validate_channel
from django_sse.log.memory import MemoryLog
from django_sse.wire.decoder import Decoder, MessageEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.http.response import HttpResponseBase

__all__ = ["MessageEvent", "apublished", "aread", "memory_log", "published", "read"]

_PAGE = 500


async def aread(
    response: HttpResponseBase,
    count: int | None = None,
    timeout: float = 5.0,
    *,
    opening: bool = False,
) -> list[MessageEvent]:
    """The next ``count`` events of a stream, or all up to its end; then the stream is closed.

    Each has ``type``, ``data`` (a ``str``) and ``last_event_id``. A stream that ends early gives
    fewer than ``count``. ``stream-open``, which each subscription begins with, is left out, save
    with ``opening``; heartbeats are no events.

    Raises ``TimeoutError`` when they have not come after ``timeout`` seconds (it says what has),
    and ``AssertionError`` for a response that is no event stream: a redirect, 403, 204.
    """
    body = _body(response)
    events: list[MessageEvent] = []
    try:
        async with asyncio.timeout(timeout):
            await _collect(events, body, count, opening=opening)
    except TimeoutError as error:
        wanted = "the stream's end" if count is None else f"{count} events"
        raise TimeoutError(
            f"Waited {timeout:g} s for {wanted}. What came: {events or 'nothing'}. {error}".rstrip()
        ) from error
    finally:
        await _close(response, body)
    return events[:count]


def read(
    response: HttpResponseBase,
    count: int | None = None,
    timeout: float = 5.0,
    *,
    opening: bool = False,
) -> list[MessageEvent]:
    """``aread`` for sync tests: ``read(self.client.get("/orders/7/events/"), 1)``."""
    loop = response.stream.loop if isinstance(response, EventStreamResponse) else None
    if loop is None or not loop.is_running():
        return async_to_sync(aread)(response, count, timeout, opening=opening)
    reading = aread(response, count, timeout, opening=opening)
    return asyncio.run_coroutine_threadsafe(reading, loop).result()


def _body(response: HttpResponseBase) -> AsyncIterator[bytes]:
    if not isinstance(response, StreamingHttpResponse):
        content = getattr(response, "content", b"")
        raise AssertionError(
            f"The response is no event stream, but {response.status_code} "
            f"({response.headers.get('Content-Type', 'no content type')}): {content[:200]!r}"
        )
    return aiter(response) if response.is_async else _as_async(response)


async def _collect(
    events: list[MessageEvent], body: AsyncIterator[bytes], count: int | None, *, opening: bool
) -> None:
    # Without limits: what a project may publish its tests may read.
    decoder = Decoder(max_line=sys.maxsize, max_event=sys.maxsize)
    async for chunk in body:
        new = decoder.feed(chunk)
        events += [each for each in new if opening or each.type != "stream-open"]
        if count is not None and len(events) >= count:
            return


async def _as_async(response: StreamingHttpResponse) -> AsyncIterator[bytes]:
    for chunk in response:
        yield chunk


async def _close(response: HttpResponseBase, body: AsyncIterator[bytes]) -> None:
    # The test client puts a generator round the content, which closes the response, as a server
    # would, when it is closed itself. Left to the garbage collector, it would do so at any time.
    for each in (body, getattr(response, "_iterator", None)):
        if (aclose := getattr(each, "aclose", None)) is not None:
            await aclose()
        elif (close := getattr(each, "close", None)) is not None:
            close()
    if isinstance(response, EventStreamResponse):
        response.stream.close()


def published(channel: str) -> list[tuple[str, str]]:
    """All events of ``channel`` that the log has, oldest first, as pairs of type and data.

    The type is ``"message"`` where none was given; data that was not a ``str`` is JSON. The
    terminal event of ``finish`` is the last; redacted events are left out. Inside a transaction
    that is not the ``TestCase``'s own an event is in the log after the commit. Empty for a channel
    that nobody published to.
    """
    log = get_log()
    head = log.heads([validate_channel(channel, internal=True)]).get(channel)
    events: list[tuple[str, str]] = []
    seq = head.floor if head else 0
    while head and (page := log.read(head.key, seq, _PAGE)):
        seq = page[-1].seq
        stored = (each for each in page if each.kind != Kind.REDACTED)
        events += [(each.type or "message", each.data) for each in stored]
    return events


async def apublished(channel: str) -> list[tuple[str, str]]:
    """``published`` for async tests."""
    return await sync_to_async(published)(channel)


class memory_log(TestContextDecorator):
    """Keeps the log in memory, empty at the start and gone at the end; no database is needed.

    A context manager, a decorator of test functions (sync and async) and of ``TestCase`` classes::

        with memory_log() as log:
            publish("room", "hi")

        @memory_log()
        class RoomTests(SimpleTestCase): ...

        @pytest.fixture(autouse=True)
        def log():
            with memory_log() as log:
                yield log

    Gives the ``MemoryLog``. There is one a process, so blocks cannot be nested.
    """

    def enable(self) -> MemoryLog:
        """Begin; used by the forms above."""
        values: dict[str, Any] = {**(getattr(settings, conf.NAME, None) or {})}
        values |= {"NOTIFIER": "local"}
        path = f"{MemoryLog.__module__}.{MemoryLog.__name__}"
        self._overrides = ExitStack()
        self._overrides.enter_context(override_settings(**{conf.NAME: values}))
        self._overrides.enter_context(constants.overridden(LOG=path))
        return self._clear()

    def __enter__(self) -> MemoryLog:  # type: ignore[override]
        return self.enable()

    def disable(self) -> None:
        """End; used by the forms above."""
        self._clear()
        self._overrides.close()

    def _clear(self) -> MemoryLog:
        log = get_log()
        assert isinstance(log, MemoryLog)
        log.clear()
        return log
