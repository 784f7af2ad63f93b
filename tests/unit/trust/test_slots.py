from __future__ import annotations

import asyncio
import os
import signal

import pytest

from django_sse.exceptions import Overloaded, TooManyStreams
from django_sse.trust import slots
from django_sse.trust.slots import Slot
from tests.unit.trust.support import gunicorn_handler

pytestmark = pytest.mark.usefixtures("configure", "_quick")

ME, YOU = "user:1", "user:2"


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_TAKES", 0.01)
    monkeypatch.setattr(slots, "_TICKS", 0.0)


class Client:
    """A stream whose client takes a heartbeat, or has vanished."""

    def __init__(self, slot: Slot, *, vanished: bool = False) -> None:
        self.loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        self.slot, self.vanished = slot, vanished
        self.heartbeats = 0
        slot.assign(self)

    def send_heartbeat(self) -> None:
        self.heartbeats += 1

    def drop_unless_taking(self, seconds: float) -> None:
        if self.vanished:
            self.slot.give_back()


async def taken(owner: str | None = None) -> Slot:
    slot = Slot(owner)
    await slot.take()
    return slot


@pytest.fixture(autouse=True)
def _none_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_all", set())
    monkeypatch.setattr(slots, "_of_owner", {})
    monkeypatch.setattr(slots, "_asked_at", {})


@pytest.mark.options(STREAMS_PER_PROCESS=2)
async def test_a_process_has_so_many_for_all_its_clients() -> None:
    first = await taken(ME)
    await taken()
    with pytest.raises(Overloaded, match="2 open streams, as many as STREAMS_PER_PROCESS"):
        await taken(YOU)
    first.give_back()
    await taken(YOU)


@pytest.mark.options(STREAMS_PER_OWNER=1)
async def test_an_owner_has_so_many_and_takes_nothing_from_the_others() -> None:
    first = await taken(ME)
    with pytest.raises(TooManyStreams, match="1 open streams in this process"):
        await taken(ME)
    with pytest.raises(TooManyStreams):
        Slot(ME).take_in_thread()
    await taken(YOU)
    first.give_back()
    await taken(ME)


@pytest.mark.options(STREAMS_PER_OWNER=1)
async def test_streams_of_nobody_are_not_counted_as_one_owners() -> None:
    for _ in range(3):
        await taken(None)


@pytest.mark.options(STREAMS_PER_PROCESS=1)
async def test_it_is_taken_and_given_back_once() -> None:
    slot = await taken(ME)
    await slot.take()
    slot.give_back()
    slot.give_back()
    assert not slots._all
    assert not slots._of_owner
    # Its stream has ended, and nothing would give it back a second time.
    await slot.take()
    assert not slots._all


@pytest.mark.options(STREAMS_PER_OWNER=2)
@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_client_that_vanished_makes_room_for_its_owners_next(in_thread: bool) -> None:
    ghost, living = Client(await taken(ME), vanished=True), Client(await taken(ME))
    other = Client(await taken(YOU), vanished=True)
    slot = Slot(ME)
    await (asyncio.to_thread(slot.take_in_thread) if in_thread else slot.take())
    assert slots._of_owner[ME] == {living.slot, slot}
    assert (ghost.heartbeats, living.heartbeats, other.heartbeats) == (1, 1, 0)


@pytest.mark.options(STREAMS_PER_OWNER=1)
async def test_a_thread_of_a_server_that_has_few_of_them_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler = gunicorn_handler(threads=8)
    monkeypatch.setattr(signal, "getsignal", lambda _: handler)
    ghost = Client(await taken(ME), vanished=True)
    with pytest.raises(TooManyStreams):
        Slot(ME).take_in_thread()
    async with asyncio.timeout(60):
        while ME in slots._of_owner:  # noqa: ASYNC110 - nothing notifies
            await asyncio.sleep(0.01)
    assert ghost.heartbeats == 1
    Slot(ME).take_in_thread()


@pytest.mark.options(STREAMS_PER_OWNER=1)
async def test_of_an_owners_requests_one_waits_for_that_and_the_others_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client(await taken(ME), vanished=True)
    waiting = asyncio.create_task(taken(ME))
    await asyncio.sleep(0)
    with pytest.raises(TooManyStreams):
        await taken(ME)
    await waiting
    assert client.heartbeats == 1
    # And so are those that come a moment later.
    with pytest.raises(TooManyStreams):
        await taken(ME)
    monkeypatch.setattr(slots, "_ASKED_FOR", 0.0)
    with pytest.raises(TooManyStreams):
        await taken(ME)


@pytest.mark.options(STREAMS_PER_OWNER=1)
async def test_a_client_that_leaves_while_it_waits_takes_nothing() -> None:
    client = Client(await taken(ME), vanished=True)
    waiting = asyncio.create_task(taken(ME))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0.05)
    assert client.slot not in slots._all
    await taken(ME)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
async def test_a_forked_child_has_none_of_its_parents_streams() -> None:
    await taken(ME)
    child = os.fork()
    if not child:
        os._exit(len(slots._all) + len(slots._of_owner))
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
