"""What every notifier that comes with the library must hold: ``notifiers.base`` in tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.core.checks import CheckMessage

from django_sse.hub import database
from django_sse.log import get_log
from django_sse.log.base import Entry
from django_sse.notifiers import Notifier, Wakeup, get_notifier
from django_sse.wire import make_epoch
from tests.notifiers.support import TIMEOUT, Ear, listener_threads_ended, listening

pytestmark = pytest.mark.django_db(transaction=True)


async def use(name: str, settings: Any) -> AsyncIterator[Notifier]:
    settings.DJANGO_SSE = {"NOTIFIER": name, "THREAD_IDLE": 0.05}
    yield get_notifier()
    await listener_threads_ended()


@pytest.fixture(params=["local", "database"])
async def notifier(request: pytest.FixtureRequest, settings: Any) -> AsyncIterator[Notifier]:
    async for notifier in use(request.param, settings):
        yield notifier


@pytest.fixture(params=["database"])
async def distant(request: pytest.FixtureRequest, settings: Any) -> AsyncIterator[Notifier]:
    """Those that claim to hear other processes."""
    async for notifier in use(request.param, settings):
        assert notifier.supports_other_processes
        yield notifier


async def commit(*data: str) -> Wakeup:
    """Another process publishes; what a notifier may say of it at most."""
    entries = [Entry("a", "", each) for each in data]
    (appended,) = await database.run(get_log().append, entries)
    return Wakeup("a", appended.epoch, appended.records[-1].seq)


async def hears_of(ear: Ear, start: int, commit: Wakeup) -> None:
    """Returns once one of the words from ``start`` on tells of the commit, or of anything."""

    def tells(heard: Wakeup | None) -> bool:
        return heard is None or (heard[:2] == commit[:2] and heard.seq >= commit.seq)

    await ear.hears(lambda: any(map(tells, ear.heard[start:])))


# -- notify


async def test_notify_may_come_from_any_thread_and_nobody_need_listen(notifier: Notifier) -> None:
    wakeup = await commit("1")
    for wakeups in ([], [wakeup], [wakeup] * 100, [Wakeup("no such channel", make_epoch(), 7)]):
        await asyncio.to_thread(notifier.notify, wakeups)
        notifier.notify(wakeups)


async def test_notify_does_not_raise_while_the_transport_is_away(
    notifier: Notifier, settings: Any
) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "DATABASE": "no such database"}
    notifier.notify([Wakeup("a", make_epoch(), 1)])


# -- listen


async def test_it_listens_until_it_is_cancelled(notifier: Notifier) -> None:
    ear = Ear()
    task = asyncio.create_task(notifier.listen(ear.wake))
    done, _ = await asyncio.wait({task}, timeout=0.2)
    assert done == set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await listener_threads_ended()


async def test_nothing_is_heard_after_the_end(notifier: Notifier) -> None:
    async with listening(notifier) as ear:
        pass
    heard = len(ear.heard)
    await commit("1")
    await listener_threads_ended()
    assert len(ear.heard) == heard


async def test_it_says_at_the_start_that_there_may_be_something(distant: Notifier) -> None:
    async with listening(distant) as ear:
        assert ear.heard[0] is None


async def test_a_commit_is_heard(distant: Notifier) -> None:
    async with listening(distant) as ear:
        start = len(ear.heard)
        wakeup = await commit("1")
        distant.notify([wakeup])
        await hears_of(ear, start, wakeup)


async def test_every_listener_hears_every_commit(distant: Notifier) -> None:
    async with listening(distant) as first, listening(distant) as second:
        for number in range(5):
            before = len(first.heard), len(second.heard)
            wakeup = await commit(str(number))
            distant.notify([wakeup])
            for ear, start in zip((first, second), before, strict=True):
                await hears_of(ear, start, wakeup)


async def test_what_is_heard_is_heard_on_the_loop(distant: Notifier) -> None:
    async with listening(distant) as ear:
        distant.notify([await commit("1")])
        await ear.more()
    assert ear.threads == {threading.current_thread()}


async def test_after_a_pause_it_says_that_something_may_have_been_missed(
    distant: Notifier,
) -> None:
    async with listening(distant):
        pass
    distant.notify([await commit("1")])
    async with listening(distant) as ear:
        assert ear.heard[0] is None


def test_two_loops_may_listen_at_the_same_time(distant: Notifier) -> None:
    both = threading.Barrier(2)

    async def listen() -> int:
        async with listening(distant) as ear:
            await asyncio.to_thread(both.wait, TIMEOUT)
            await commit("1")
            await ear.more()
            await asyncio.to_thread(both.wait, TIMEOUT)
            return len(ear.heard)

    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(asyncio.run(listen()))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(results) == 2
    assert min(results) >= 2


# -- what it says of itself


def test_its_checks_are_checks(notifier: Notifier) -> None:
    assert all(isinstance(message, CheckMessage) for message in notifier.check())


def test_who_polls_hears_other_processes(notifier: Notifier) -> None:
    assert notifier.supports_other_processes or not notifier.supports_polling
