"""What every notifier that comes with the library must hold: ``notifiers.base`` in tests."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any
from uuid import uuid4

import pytest
from django.core.checks import CheckMessage

from django_sse.log import get_log
from django_sse.log.base import Entry
from django_sse.models import Run
from django_sse.notifiers import Notifier, Wakeup, get_notifier, outage
from django_sse.process import database
from django_sse.wire import make_epoch
from tests.appending import append_to
from tests.unit.hub.support import eventually
from tests.unit.log.support import run_python
from tests.unit.notifiers.support import (
    TIMEOUT,
    WAYS,
    Configured,
    Ear,
    listener_threads_ended,
    listening,
)

pytestmark = pytest.mark.django_db(transaction=True)


async def commit(*data: str) -> Wakeup:
    """Another process publishes; what a notifier may say of it at most."""
    entries = [Entry("a", "", each) for each in data]
    (appended,) = await database.run(append_to, get_log(), entries)
    return Wakeup("a", *appended.position)


# -- notify


async def test_notify_may_come_from_any_thread_and_nobody_need_listen(notifier: Notifier) -> None:
    wakeup = await commit("1")
    for wakeups in (
        [],
        [wakeup],
        [wakeup] * 100,
        [Wakeup("no such channel", make_epoch(), 7, "abc123")],
    ):
        await asyncio.to_thread(notifier.notify, wakeups)
        notifier.notify(wakeups)


async def test_notify_neither_raises_nor_waits_while_the_transport_is_away(
    way: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = Configured(WAYS[way], settings, monkeypatch)
    notifier = get_notifier()
    configured.lose()
    started = time.monotonic()
    for seq in range(1000):
        notifier.notify([Wakeup("a", make_epoch(), seq, "abc123")])
    # No connection is refused a thousand times in that; a machine that is shared may take a while.
    assert time.monotonic() - started < 2
    configured.restore()
    await listener_threads_ended()


async def test_what_could_not_be_sent_is_sent_when_the_transport_is_back(
    distant: Notifier,
    distant_way: str,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if distant.supports_polling:
        pytest.skip("it sends nothing")
    # Said again, although another test may have had an outage a moment ago.
    monkeypatch.setattr(outage, "_STABLE_AFTER", -1.0)
    configured = Configured(WAYS[distant_way], settings, monkeypatch)
    async with listening(distant) as ear:
        start = len(ear.heard)
        configured.lose()
        wakeup = await commit("1")
        distant.notify([wakeup])
        # It has been tried, and it was said that it failed.
        await eventually(lambda: caplog.records)
        configured.restore()
        await ear.hears_of(wakeup, start)


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
        await ear.hears_of(wakeup, start)


async def test_an_internal_channel_is_heard_of_by_its_name(distant: Notifier) -> None:
    async with listening(distant) as ear:
        start = len(ear.heard)
        name = Run().channel
        (appended,) = await database.write(append_to, get_log(), [Entry(name, "", "1")])
        wakeup = Wakeup(name, *appended.position)
        distant.notify([wakeup])
        await ear.hears_of(wakeup, start)


async def test_every_listener_hears_every_commit(distant: Notifier) -> None:
    async with listening(distant) as first, listening(distant) as second:
        for number in range(5):
            before = len(first.heard), len(second.heard)
            wakeup = await commit(str(number))
            distant.notify([wakeup])
            for ear, start in zip((first, second), before, strict=True):
                await ear.hears_of(wakeup, start)


async def hears_a_publish_of(ear: Ear, code: str) -> None:
    """A process runs `code`, which prints the id it published to channel "a", and ends at once, as
    a command does: what it has to tell must be out by then."""
    start = len(ear.heard)
    status, output = await asyncio.to_thread(run_python, code)
    assert status == 0, output
    epoch, seq, tag = output.strip().split("-")
    await ear.hears_of(Wakeup("a", epoch, int(seq), tag), start)


async def test_what_another_process_publishes_is_heard(distant: Notifier) -> None:
    async with listening(distant) as ear:
        await hears_a_publish_of(ear, "print(publish('a', 'from another process'))")


async def test_a_host_name_can_be_looked_up_while_a_process_ends(
    distant: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DJANGO_SSE_TEST_OPTIONS", "DJANGO_SSE_TEST_CHANNEL_LAYERS"):
        monkeypatch.setenv(name, os.environ[name].replace("127.0.0.1", "localhost"))
    async with listening(distant) as ear:
        await hears_a_publish_of(ear, "print(publish('a', 'from a process that ends'))")


async def test_a_child_that_was_forked_has_a_connection_of_its_own(distant: Notifier) -> None:
    async with listening(distant) as ear:
        await hears_a_publish_of(
            ear,
            """
            import warnings
            from django.db import connections
            # Python says since 3.12 that a fork with threads may go wrong; servers do it.
            warnings.simplefilter("ignore", DeprecationWarning)
            publish("a", "parent")
            connections.close_all()
            if child := os.fork():
                os.waitpid(child, 0)
                publish("b", "the parent can still tell")
            else:
                print(publish("a", "child"))
            """,
        )
        if not distant.supports_polling:
            await ear.hears(lambda: any(each and each.channel == "b" for each in ear.heard))


async def test_of_many_at_once_none_is_forgotten(distant: Notifier) -> None:
    last = await commit(*map(str, range(5000)))
    async with listening(distant) as ear:
        start = len(ear.heard)
        others = [Wakeup(f"channel-{number}", make_epoch(), 1, "abc123") for number in range(3000)]

        def tell(first: int) -> None:
            for seq in range(first, last.seq + 1, 4):
                distant.notify([last._replace(seq=seq)])
                distant.notify(others[seq - 1 : seq])

        # Those that poll have to be given something to find.
        await commit("5001")
        await asyncio.gather(*(asyncio.to_thread(tell, first) for first in (1, 2, 3, 4)))
        await ear.hears_of(last, start)
        await ear.hears(lambda: None in ear.heard[start:] or set(others) <= set(ear.heard[start:]))


async def test_two_environments_do_not_hear_each_other(distant: Notifier, settings: Any) -> None:
    if distant.supports_polling:
        pytest.skip("it has nothing but the log to hear from")
    staging = {**settings.DJANGO_SSE, "ENVIRONMENT": uuid4().hex}
    async with listening(distant) as ear:
        production, settings.DJANGO_SSE = settings.DJANGO_SSE, staging
        async with listening(distant) as other:
            before = list(ear.heard)
            distant.notify([Wakeup("staging", make_epoch(), 1, "abc123")])
            await other.hears(lambda: len(other.heard) > 1)
            await listener_threads_ended()
            settings.DJANGO_SSE = production
            distant.notify([Wakeup("production", make_epoch(), 1, "abc123")])
            await ear.hears(lambda: len(ear.heard) > len(before))
    assert {each.channel for each in ear.heard if each} == {"production"}
    assert {each.channel for each in other.heard if each} == {"staging"}


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
        # What was told a moment ago may come before it.
        await ear.hears(lambda: None in ear.heard)


def test_two_loops_may_listen_at_the_same_time(
    distant: Notifier, caplog: pytest.LogCaptureFixture
) -> None:
    both = threading.Barrier(2)

    async def listen() -> int:
        async with listening(distant) as ear:
            await asyncio.to_thread(both.wait, TIMEOUT)
            start = len(ear.heard)
            wakeup = await commit("1")
            distant.notify([wakeup])
            await ear.hears_of(wakeup, start)
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
    # They do not get into each other's way.
    assert caplog.records == []


# -- what it says of itself


def test_its_checks_are_checks(notifier: Notifier) -> None:
    assert all(isinstance(message, CheckMessage) for message in notifier.check())


def test_who_polls_hears_other_processes(notifier: Notifier) -> None:
    assert notifier.supports_other_processes or not notifier.supports_polling
