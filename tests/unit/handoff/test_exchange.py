from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from django_sse.handoff.exchange import Exchange
from django_sse.servers import signals
from django_sse.streams import pulse
from tests.unit.handoff.support import Connection, Message
from tests.unit.hub.pipe import Pipe
from tests.unit.hub.support import TIMEOUT, eventually

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
BODY: Message = {"type": "http.response.body", "body": b"plain", "more_body": False}
NO_BODY: Message = {"type": "http.response.body", "body": b"", "more_body": False}


class Request:
    """An exchange, driven as Django drives it."""

    def __init__(self) -> None:
        self.connection = Connection(request_body=b"the body")
        self.exchange = Exchange(self.connection.receive, self.connection.send)
        self.listening: asyncio.Task[Message] | None = None

    async def begin(self) -> None:
        """Django has read the request and listens for the client's leave."""
        message = await self.exchange.receive()
        assert message == {"type": "http.request", "body": b"the body", "more_body": False}
        self.listening = asyncio.ensure_future(self.exchange.receive())
        await asyncio.sleep(0)

    async def end(self) -> None:
        """Django is done: it cancels what still listens."""
        assert self.listening is not None
        self.listening.cancel()
        await asyncio.wait({self.listening})


@pytest.fixture
async def request_() -> Any:
    request = Request()
    yield request
    await eventually(lambda: len(asyncio.all_tasks()) == 1)


async def stream_handed_off(request: Request, *chunks: bytes | None) -> Pipe:
    """Django has answered with a stream and is done."""
    await request.begin()
    await request.exchange.send(START)
    stream = Pipe(*chunks)
    request.exchange.take(stream)
    await request.exchange.send(NO_BODY)
    await request.end()
    return stream


async def test_a_plain_response_passes_and_leaves_nothing_behind(request_: Request) -> None:
    await request_.begin()
    await request_.exchange.send(START)
    await request_.exchange.send(BODY)
    await request_.end()
    assert request_.exchange.delivery() is None
    assert request_.connection.messages == [START, BODY]


async def test_one_whose_connection_lives_on_leaves_no_task(request_: Request) -> None:
    await request_.begin()
    await request_.exchange.send(START)
    await request_.end()
    # The server would say so only when the client leaves.
    assert len(asyncio.all_tasks()) == 2
    assert request_.exchange.delivery() is None
    await eventually(lambda: len(asyncio.all_tasks()) == 1)


async def test_django_hears_that_its_client_leaves(request_: Request) -> None:
    await request_.begin()
    request_.connection.leave()
    assert request_.listening is not None
    async with asyncio.timeout(TIMEOUT):
        assert await request_.listening == {"type": "http.disconnect"}
    request_.exchange.drop()


async def test_a_streams_body_goes_on_where_djangos_ends(request_: Request) -> None:
    await stream_handed_off(request_, b"one", b"two", None)
    delivery = request_.exchange.delivery()
    assert delivery is not None
    await delivery.run()
    assert request_.connection.messages[0] == START
    assert request_.connection.chunks == [b"one", b"two"]
    assert request_.connection.messages[-1] == NO_BODY
    assert request_.connection.messages.count(NO_BODY) == 1


async def test_a_stream_that_django_dropped_is_closed(request_: Request) -> None:
    await request_.begin()
    stream = Pipe(b"one")
    request_.exchange.take(stream)
    await request_.end()
    request_.exchange.drop()
    assert stream.ends == 1


async def test_a_stream_that_comes_after_the_server_has_given_up_is_closed(
    request_: Request,
) -> None:
    await request_.begin()
    request_.exchange.drop()
    stream = Pipe(b"one")
    request_.exchange.take(stream)
    await request_.end()
    assert stream.ends == 1


async def test_a_client_that_leaves_during_the_handoff_ends_the_stream(request_: Request) -> None:
    stream = await stream_handed_off(request_)
    request_.connection.leave()
    await asyncio.sleep(0)
    delivery = request_.exchange.delivery()
    if delivery is not None:
        async with asyncio.timeout(TIMEOUT):
            await delivery.run()
    assert stream.ends == 1
    assert not request_.connection.ended


async def test_one_that_left_while_the_body_was_read_gets_no_stream(request_: Request) -> None:
    request_.connection.read_request()
    request_.connection.leave()
    assert await request_.exchange.receive() == {"type": "http.disconnect"}
    stream = Pipe(b"one")
    request_.exchange.take(stream)
    assert request_.exchange.delivery() is None
    assert stream.ends == 1


async def test_a_body_in_parts_reaches_django_whole() -> None:
    parts: list[Message] = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": b"b", "more_body": False},
    ]
    receive: Callable[[], Any] = Connection().receive

    async def in_parts() -> Message:
        return parts.pop(0) if parts else await receive()

    exchange = Exchange(in_parts, Connection().send)
    assert [(await exchange.receive())["body"] for _ in range(2)] == [b"a", b"b"]


class Worker:
    """gunicorn's, as much of it as is asked for; a project may have a class of its own."""

    __module__ = "gunicorn.workers.gasgi"
    alive = True


class Receiver:
    """Of a request to gunicorn's ASGI worker."""

    def __init__(self, worker: Worker | None) -> None:
        self.protocol = SimpleNamespace(transport=None, worker=worker)

    async def receive(self) -> Message:
        return {"type": "http.disconnect"}


@pytest.mark.parametrize("own", [Worker, type("Own", (Worker,), {"__module__": "project"})])
async def test_gunicorns_worker_is_asked_whether_it_stops(
    own: type[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(message: Message) -> None:
        """Nothing is sent."""

    monkeypatch.setattr(send, "__module__", "gunicorn.asgi.protocol")
    monkeypatch.setattr(signals, "_worker", None)
    monkeypatch.setattr(pulse, "_draining_until", 0.0)
    worker = own()
    for each in (worker, None):
        Exchange(Receiver(each).receive, send)
    signals.look()
    assert not pulse.is_draining()
    worker.alive = False
    signals.look()
    assert pulse.is_draining()
