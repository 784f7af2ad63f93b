"""Helpers for the tests of projects that stream and publish.

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

The request sets the stream's position, so ``aread`` gets the events published between ``get`` and
``aread``. Publish before you read: ``aread`` waits for its events, then closes the stream.

**In a ``TestCase``** (and with pytest-django's ``db``) nothing is ever committed. Therefore
``publish`` numbers its events immediately, and a stream queries the database on the test's own
thread.

**With the synchronous client** a generator runs while the client waits for its response, until it
ends or for five seconds. For a generator that never ends use ``self.async_client``.

**In an async test under pytest-asyncio** pytest-django's ``db`` does not roll back what coroutines
write, as with any use of the ORM there. Mark the test ``django_db(transaction=True)``, or use
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
    """Return the next ``count`` events of a stream, or all until its end, and close the stream.

    Each event has ``type``, ``data`` (a ``str``) and ``last_event_id``. If the stream ends early,
    there are fewer than ``count``. The ``stream-open`` at the start of each subscription is left
    out unless ``opening`` is true. Heartbeats are not events.

    Raises ``TimeoutError`` if the events do not come within ``timeout`` seconds (the message has
    the events that did come), and ``AssertionError`` for a response that is not an event stream: a
    redirect, 403, 204.
    """
    body = _body(response)
    events: list[MessageEvent] = []
    try:
        async with asyncio.timeout(timeout):
            await _collect(events, body, count, opening=opening)
    except TimeoutError as error:
        wanted = "the stream's end" if count is None else f"{count} events"
        raise TimeoutError(
            f"Waited {timeout:g} s for {wanted}. Received: {events or 'nothing'}. {error}".rstrip()
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
            f"The response is not an event stream, but {response.status_code} "
            f"({response.headers.get('Content-Type', 'no content type')}): {content[:200]!r}"
        )
    return aiter(response) if response.is_async else _as_async(response)


async def _collect(
    events: list[MessageEvent], body: AsyncIterator[bytes], count: int | None, *, opening: bool
) -> None:
    # Without limits: tests may read any event that the project publishes.
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
    # The test client wraps the content in a generator. Closing the generator closes the response,
    # as a server would; the garbage collector would close it at any later time.
    for each in (body, getattr(response, "_iterator", None)):
        if (aclose := getattr(each, "aclose", None)) is not None:
            await aclose()
        elif (close := getattr(each, "close", None)) is not None:
            close()
    if isinstance(response, EventStreamResponse):
        response.stream.close()


def published(channel: str) -> list[tuple[str, str]]:
    """Return all events of ``channel`` in the log, oldest first, as pairs of type and data.

    The type is ``"message"`` if none was given; data that was not a ``str`` is JSON. The terminal
    event of ``finish`` is the last; redacted events are left out. An event published inside a
    transaction is in the log only after the commit, except in the transaction of a ``TestCase``.
    The list is empty for a channel without events.
    """
    log = get_log()
    head = log.heads([validate_channel(channel, internal=True)]).get(channel)
    events: list[tuple[str, str]] = []
    seq = head.floor if head else 0
    while head and (page := log.read(head.key, seq, _PAGE).records):
        seq = page[-1].seq
        stored = (each for each in page if each.kind != Kind.REDACTED)
        events += [(each.type or "message", each.data) for each in stored]
    return events


async def apublished(channel: str) -> list[tuple[str, str]]:
    """``published`` for async tests."""
    return await sync_to_async(published)(channel)


class memory_log(TestContextDecorator):
    """A log in memory: empty at the start, discarded at the end. It needs no database.

    Use it as a context manager, or as a decorator of test functions (sync or async) and of
    ``TestCase`` classes::

        with memory_log() as log:
            publish("room", "hi")

        @memory_log()
        class RoomTests(SimpleTestCase): ...

        @pytest.fixture(autouse=True)
        def log():
            with memory_log() as log:
                yield log

    Returns the ``MemoryLog``. A process has only one, so blocks cannot be nested.
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
