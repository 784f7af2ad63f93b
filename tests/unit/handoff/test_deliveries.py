from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from django_sse.handoff.deliveries import Delivery, PulledDelivery, PushedDelivery
from django_sse.streams.state import State
from django_sse.wire import HEARTBEAT
from tests.unit.handoff.support import Connection, Gate
from tests.unit.hub.pipe import Pipe
from tests.unit.hub.support import TIMEOUT, eventually

END = None


class Delivered:
    """A delivery on its way, from a pipe to a connection."""

    def __init__(self, way: str, *chunks: bytes | None) -> None:
        self.way = way
        self.stream = Pipe(*chunks)
        self.connection = Connection()
        self.connection.read_request()
        self.gate = Gate(pushes=way == "pushed")
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self._delivery().run())

    def _delivery(self) -> Delivery:
        send, receive = self.connection.send, self.connection.receive
        if self.way == "pushed":
            return PushedDelivery(self.stream, receive, send, self.gate)

        async def gone() -> None:
            await receive()

        return PulledDelivery(self.stream, asyncio.create_task(gone()), send, self.gate)

    @property
    def idle(self) -> bool:
        """Whether it has sent what there was and waits."""
        return self.stream.state is State.PARKED or self.stream._waiter is not None

    async def reached(self, *chunks: bytes) -> None:
        """Returns when the client has just these chunks and the delivery waits for more."""
        await eventually(lambda: self.connection.chunks == [*chunks] and self.idle)

    async def end(self) -> None:
        """Returns when the delivery does; raises what it raises."""
        assert self.task is not None
        async with asyncio.timeout(TIMEOUT):
            await self.task


@pytest.fixture(params=["pushed", "pulled"])
async def delivered(request: pytest.FixtureRequest) -> AsyncIterator[Delivered]:
    delivered = Delivered(request.param)
    yield delivered
    if delivered.task is not None:
        delivered.task.cancel()
        await asyncio.wait({delivered.task})
    # Whatever happened, nothing of it goes on.
    await eventually(lambda: len(asyncio.all_tasks()) == 1)
    assert delivered.stream.streams.open == []


@pytest.fixture
async def running(delivered: Delivered) -> Delivered:
    """One that has begun, and waits for the first chunk."""
    delivered.start()
    await delivered.reached()
    return delivered


async def test_chunks_are_sent_in_order_and_the_body_ends(delivered: Delivered) -> None:
    delivered.stream.chunks.extend([b"one", b"two", END])
    delivered.start()
    await delivered.end()
    assert delivered.connection.chunks == [b"one", b"two"]
    assert delivered.connection.ended
    assert (delivered.gate.released, delivered.gate.dropped) == (1, 0)


async def test_what_comes_while_it_waits_is_sent(delivered: Delivered) -> None:
    delivered.stream.chunks.append(b"one")
    delivered.start()
    await delivered.reached(b"one")
    delivered.stream.put(b"two")
    await delivered.reached(b"one", b"two")
    delivered.stream.put(END)
    await delivered.end()
    assert delivered.connection.ended


async def test_a_pushed_chunk_is_sent_by_whoever_puts_it() -> None:
    delivered = Delivered("pushed")
    delivered.start()
    await delivered.reached()
    tasks = len(asyncio.all_tasks())
    delivered.stream.put(b"one")
    # At once, without a turn of the loop and without a task.
    assert delivered.connection.chunks == [b"one"]
    assert len(asyncio.all_tasks()) == tasks
    delivered.connection.leave()
    await delivered.end()


async def test_a_client_that_leaves_ends_it(running: Delivered) -> None:
    running.connection.leave()
    await running.end()
    assert running.stream.ends == 1
    assert not running.connection.ended


async def test_a_client_that_is_gone_already_ends_it(delivered: Delivered) -> None:
    delivered.connection.leave()
    delivered.stream.chunks.append(b"one")
    delivered.start()
    await delivered.end()
    assert delivered.stream.ends == 1


async def test_a_client_that_leaves_while_a_send_waits_ends_it(running: Delivered) -> None:
    running.connection.room.clear()
    running.stream.put(b"one")
    await eventually(lambda: running.connection.waiting == 1)
    running.connection.leave()
    await running.end()
    await eventually(lambda: running.connection.cancelled == 1)
    assert (running.connection.chunks, running.stream.ends) == ([], 1)


async def test_a_send_that_suspends_before_it_takes_the_chunk_is_waited_for(
    delivered: Delivered,
) -> None:
    delivered.connection.suspends = True
    delivered.start()
    await delivered.reached()
    for number in range(20):
        delivered.stream.put(b"%d" % number)
    delivered.stream.put(END)
    await delivered.end()
    assert delivered.connection.body == b"".join(b"%d" % number for number in range(20))


async def test_while_there_is_no_room_nothing_is_sent_and_nothing_is_lost(
    running: Delivered,
) -> None:
    running.gate.block()
    for number in range(50):
        running.stream.put(b"%d " % number)
    await asyncio.sleep(0)
    assert running.connection.chunks == []
    running.gate.unblock()
    await running.reached(*(b"%d " % number for number in range(50)))
    running.stream.put(b"after")
    await eventually(lambda: running.connection.chunks[-1] == b"after")
    running.connection.leave()
    await running.end()


async def test_a_client_that_leaves_while_there_is_no_room_ends_it(running: Delivered) -> None:
    running.gate.block()
    running.stream.put(b"one")
    await eventually(lambda: not running.idle)
    running.connection.leave()
    await running.end()
    assert (running.connection.chunks, running.stream.ends) == ([], 1)


async def test_a_chunk_larger_than_the_room_goes_in_parts(delivered: Delivered) -> None:
    delivered.gate.bytes_at_once = 4
    delivered.start()
    await delivered.reached()
    delivered.stream.put(b"0123456789")
    await delivered.reached(b"0123", b"4567", b"89")
    delivered.stream.put(END)
    await delivered.end()


async def test_an_error_of_send_is_the_servers_to_hear_and_ends_the_stream(
    running: Delivered,
) -> None:
    running.connection.error = RuntimeError("the server is broken")
    # Nobody else may suffer from it.
    running.stream.put(b"one")
    with pytest.raises(RuntimeError, match="the server is broken"):
        await running.end()
    assert running.stream.ends == 1


async def test_an_error_of_the_stream_is_the_servers_to_hear(running: Delivered) -> None:
    running.stream._error = ValueError("broken")
    running.stream.wake()
    with pytest.raises(ValueError, match="broken"):
        await running.end()
    assert running.stream.ends == 1
    assert not running.connection.ended


async def test_a_server_that_cancels_the_application_ends_it(running: Delivered) -> None:
    assert running.task is not None
    running.task.cancel("by the server")
    with pytest.raises(asyncio.CancelledError):
        await running.end()
    assert running.stream.ends == 1


async def test_a_drained_stream_says_goodbye_and_its_body_ends(running: Delivered) -> None:
    running.stream.drain()
    await running.end()
    assert b"stream-retry" in running.connection.body
    assert running.connection.ended


async def test_a_stream_that_is_drained_while_its_client_does_not_read_says_goodbye_later(
    running: Delivered,
) -> None:
    running.gate.block()
    running.stream.put(b"one")
    await eventually(lambda: not running.idle)
    running.stream.drain()
    running.gate.unblock()
    await running.end()
    assert running.connection.chunks[0] == b"one"
    assert b"stream-retry" in running.connection.body


async def test_it_beats(running: Delivered) -> None:
    for _ in range(2):
        running.stream.beat()
    await running.reached(HEARTBEAT)
    running.connection.leave()
    await running.end()


async def test_a_stream_that_is_closed_ends_its_body(running: Delivered) -> None:
    running.stream.close()
    await running.end()
    assert running.connection.ended


async def test_a_client_that_takes_nothing_is_dropped(delivered: Delivered, settings: Any) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"SEND_TIMEOUT": 0.0}}
    delivered.stream = Pipe()
    delivered.start()
    await delivered.reached()
    delivered.connection.room.clear()
    delivered.stream.put(b"one")
    await eventually(lambda: delivered.connection.waiting == 1)
    await asyncio.sleep(0.001)
    delivered.stream.beat()
    assert (delivered.gate.dropped, delivered.stream.ends) == (1, 1)
    # The effect of drop() on a server.
    delivered.connection.leave()
    await delivered.end()
    assert delivered.connection.chunks == []


async def test_two_streams_that_are_woken_together_do_not_suffer_from_each_other() -> None:
    broken, sound = Delivered("pushed"), Delivered("pushed")
    for each in (broken, sound):
        each.start()
        await each.reached()
    broken.connection.error = RuntimeError("broken")
    for each in (broken, sound):
        each.stream.put(b"one")
    assert sound.connection.chunks == [b"one"]
    with pytest.raises(RuntimeError, match="broken"):
        await broken.end()
    sound.connection.leave()
    await sound.end()


async def test_a_stream_that_cannot_be_polled_fails_once(delivered: Delivered) -> None:
    if delivered.way == "pulled":
        pytest.skip("nobody polls it")
    delivered.start()
    await delivered.reached()
    delivered.stream.fail(ValueError("broken"))
    # Whoever wakes it next finds it failed.
    delivered.stream.wake()
    with pytest.raises(ValueError, match="broken"):
        await delivered.end()


async def test_a_server_that_stops_waits_only_a_moment_for_a_client_that_takes_nothing(
    running: Delivered,
) -> None:
    running.gate.block()
    running.stream.put(b"one")
    await eventually(lambda: running.stream.sending_since is not None)
    running.stream.drain()
    await eventually(lambda: running.gate.dropped == 1)
    running.connection.leave()
    await running.end()
    assert running.connection.chunks == []
    assert running.stream.ends == 1


async def test_an_end_of_the_body_that_is_not_taken_in_time_drops_the_client(
    delivered: Delivered, settings: Any
) -> None:
    settings.DJANGO_SSE = {"STREAMS": {"SEND_TIMEOUT": 0.05}}
    delivered = Delivered(delivered.way, b"one")
    delivered.start()
    await delivered.reached(b"one")
    delivered.connection.room.clear()
    delivered.stream.put(END)
    await eventually(lambda: delivered.gate.dropped == 1)
    delivered.connection.leave()
    await delivered.end()
    assert not delivered.connection.ended


async def test_a_connection_that_nothing_drops_is_waited_for_by_a_server_that_stops(
    delivered: Delivered,
) -> None:
    delivered.gate.drops = False
    delivered.start()
    await delivered.reached()
    delivered.gate.block()
    delivered.stream.put(b"one")
    await eventually(lambda: delivered.stream.sending_since is not None)
    delivered.stream.drain()
    # Longer than the others are given.
    await asyncio.sleep(0.7)
    assert delivered.task is not None and not delivered.task.done()
    delivered.gate.unblock()
    await delivered.end()
    assert delivered.connection.chunks[0] == b"one"
    assert b"event: stream-retry\n" in delivered.connection.chunks[-1]
    assert delivered.connection.ended
