from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.db import DatabaseError, connection, connections, transaction

from django_sse.hub import database
from django_sse.log import get_log
from django_sse.log.base import Entry
from django_sse.models import Channel
from django_sse.notifiers.database import DatabaseNotifier
from tests.hub.support import listening as stream_of
from tests.hub.support import texts
from tests.log.support import start_python
from tests.notifiers.support import Ear, listener_threads_ended, listening

pytestmark = pytest.mark.django_db(transaction=True)

only_sqlite = pytest.mark.skipif(
    "connection.vendor != 'sqlite'", reason="only SQLite has data_version"
)

ROUNDS = 20


@pytest.fixture(autouse=True)
async def options(settings: Any) -> AsyncIterator[None]:
    settings.DJANGO_SSE = {"HEARTBEAT": 600.0, "SAFETY_INTERVAL": 600.0, "THREAD_IDLE": 0.05}
    yield
    await listener_threads_ended()


def append(*data: str) -> None:
    get_log().append([Entry("a", "", each) for each in data])


async def test_a_publish_in_another_process_is_seen_at_once(
    record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    process = await asyncio.to_thread(
        start_python,
        """
        import time
        for line in sys.stdin:
            publish("a", str(time.monotonic_ns()))
        """,
    )
    latencies = []
    async with stream_of("a") as client:
        for _ in range(ROUNDS):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            (text,) = texts([await client.next()])
            latencies.append((time.monotonic_ns() - int(text)) / 1e9)
        _, errors = await asyncio.to_thread(process.communicate)
    median = statistics.median(latencies)
    record_property("median_ms", median * 1000)
    with capsys.disabled():
        print(f"\n  seen from another process: median {median * 1000:.0f} ms of {ROUNDS}", end=" ")
    assert errors == ""
    # 100 ms is what is promised; a machine that is shared may take its time.
    assert median < 2


async def test_a_manage_command_in_another_terminal_is_seen() -> None:
    async with stream_of("a") as client:
        process = await asyncio.to_thread(
            start_python,
            """
            from django.core.management import call_command
            call_command("sse_publish", "a", "from the terminal", event="hello")
            """,
        )
        event = await client.next()
        _, errors = await asyncio.to_thread(process.communicate)
    assert (event.type, event.data, errors) == ("hello", "from the terminal", "")


@only_sqlite
async def test_while_nobody_writes_nothing_is_heard(settings: Any) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "POLL_INTERVAL": 0.001}
    await database.run(append, "1")
    async with listening(DatabaseNotifier()) as ear:
        # A hundred looks.
        await asyncio.wait({asyncio.create_task(ear.more())}, timeout=0.2)
        assert ear.heard == [None]
        await database.run(append, "2")
        await ear.more()


@only_sqlite
async def test_what_is_rolled_back_is_not_heard(settings: Any) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "POLL_INTERVAL": 0.001}

    def roll_back() -> None:
        with transaction.atomic():
            Channel.objects.update(head=7)
            transaction.set_rollback(True)

    await database.run(append, "1")
    async with listening(DatabaseNotifier()) as ear:
        await database.run(roll_back)
        await asyncio.wait({asyncio.create_task(ear.more())}, timeout=0.2)
        assert ear.heard == [None]


@only_sqlite
async def test_it_does_not_hold_up_who_writes() -> None:
    async with listening(DatabaseNotifier()) as ear:
        for number in range(50):
            await database.run(append, str(number))
        await ear.hears(lambda: len(ear.heard) > 1)
    heads = await database.run(get_log().heads, ["a"])
    assert heads["a"].head == 50


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[str]:
    """The alias of a database whose file cannot be opened."""
    alias = "broken"
    path = tmp_path / "no such directory" / "db.sqlite3"
    connections.databases[alias] = connections.databases["default"] | {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {},
    }
    yield alias
    del connections.databases[alias]
    if hasattr(connections._connections, alias):
        delattr(connections._connections, alias)


async def test_a_database_that_cannot_be_opened_is_said_so(broken: str, settings: Any) -> None:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "DATABASE": broken}
    ear = Ear()
    with pytest.raises(DatabaseError, match="unable to open database file"):
        await DatabaseNotifier().listen(ear.wake)
    assert ear.heard == []


@only_sqlite
def test_a_loop_that_is_closed_without_a_word_ends_the_thread() -> None:
    async def leave() -> None:
        ear = Ear()
        asyncio.create_task(DatabaseNotifier().listen(ear.wake))  # noqa: RUF006
        await ear.hears(lambda: ear.heard)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    (thread,) = (t for t in threading.enumerate() if t.name == "django_sse-data-version")
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    append("1")
    thread.join(60)
    assert not thread.is_alive()


def test_in_a_test_run_its_check_has_nothing_to_say() -> None:
    assert DatabaseNotifier().check() == []


@only_sqlite
def test_a_log_in_memory_cannot_be_seen_by_others_and_the_check_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(mail, "outbox")
    assert DatabaseNotifier().check() == []
    monkeypatch.setattr(connection._connections if False else connection, "is_in_memory_db", None, raising=False)
