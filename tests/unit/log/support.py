"""What the tests of the log share: other threads, other processes, events that lost their hook."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple, TypeVar

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.models import F
from django.utils import timezone

from django_sse.log.base import Appended, Entry, EventLog, Kind, Record
from django_sse.log.entries import key_hash
from django_sse.log.memory import MemoryLog
from django_sse.log.orm import channel_hash
from django_sse.models import Channel, OutboxEvent, StoredEvent
from django_sse.signals import events_dropped
from django_sse.wire.cursor import tag_of
from tests import ROOT
from tests.databases import url_of

T = TypeVar("T")

TIMEOUT = 90.0
# The marks of a file whose tests use the log in each database.
ON_A_DATABASE = [
    pytest.mark.django_db(transaction=True, available_apps=["django_sse"]),
    pytest.mark.usefixtures("database"),
]


def entry(channel: str, data: str = "x", type: str = "", *, key: str | None = None) -> Entry:
    return Entry(channel, type, data, key_hash="" if key is None else key_hash(channel, key))


def terminal(channel: str, state: str = "done") -> Entry:
    return Entry(channel, "close", "[DONE]", Kind.TERMINAL, state)


class Stored(NamedTuple):
    """A `Record` without its nonce, which is random."""

    seq: int
    type: str
    data: str
    kind: int = Kind.EVENT


def stored(records: Iterable[Record]) -> list[Stored]:
    return [Stored(*record[:-1]) for record in records]


def everything(log: EventLog, channel: str, page: int = 500) -> list[Stored]:
    """All stored records of a channel, read page by page."""
    found = log.heads([channel]).get(channel)
    records: list[Record] = []
    if found is None:
        return []
    while rows := log.read(found.key, records[-1].seq if records else 0, page).records:
        records.extend(rows)
    return stored(records)


def texts(log: EventLog, channel: str) -> list[str]:
    return [record.data for record in everything(log, channel)]


def assert_dense(records: Sequence[Record | Stored], first: int = 1) -> None:
    assert [each.seq for each in records] == list(range(first, first + len(records)))


def age(log: EventLog, channel: str, by: timedelta, up_to: int) -> None:
    """Make the channel's events up to a seq older, as time would."""
    if isinstance(log, MemoryLog):
        found = log._channels[channel]
        for index in range(up_to - found.floor):
            found.created[index] -= by
    else:
        rows = StoredEvent.objects.filter(channel__name=channel, seq__lte=up_to)
        rows.update(created=F("created") - by)


def age_row(log: EventLog, channel: str, by: timedelta) -> None:
    """Make a channel without stored events older, as time would."""
    if isinstance(log, MemoryLog):
        log._channels[channel].floor_created -= by
    else:
        rows = Channel.objects.filter(name=channel)
        rows.update(created=F("created") - by, floor_created=F("floor_created") - by)


# -- other threads


def elsewhere(call: Callable[[], T]) -> T:
    """`call` in a thread, and so on a database connection, of its own."""
    return in_threads(call)[0]


def in_threads(*calls: Callable[[], T]) -> list[T]:
    """All of `calls` at once, each in a thread of its own; their results, or the first error."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        try:
            barrier.wait(TIMEOUT)
            return call()
        finally:
            connections.close_all()

    pool = ThreadPoolExecutor(len(calls))
    interval = sys.getswitchinterval()
    # A busy reader keeps the interpreter for 5 ms otherwise, and each writer waits for it after
    # each statement, in the middle of its transaction: minutes, and few of the orders there are.
    sys.setswitchinterval(1e-4)
    try:
        futures = [pool.submit(run, call) for call in calls]
        done, _ = wait(futures, TIMEOUT)
    finally:
        sys.setswitchinterval(interval)
    # One that is stuck may wait for a lock of the caller's: the caller must be able to end.
    pool.shutdown(wait=False)
    for each in done:
        each.result()
    return [each.result(0) for each in futures]


# -- locks


@contextmanager
def locked(channel: str, key: str = "name") -> Iterator[None]:
    """Somebody has the channel's row, as a publisher that froze in its append. The row is looked
    up by its name, and so by its hash, or by its primary key."""
    row = Channel.objects.get(name=channel)
    found = {"pk": row.pk} if key == "pk" else {"name_hash": row.name_hash}
    with transaction.atomic():
        Channel.objects.select_for_update().get(**found)
        yield


def give_up_soon() -> None:
    """On this thread's connection who waits for a lock is refused, not kept till the test ends."""
    statements = {
        "postgresql": "SET lock_timeout = '500ms'",
        "mysql": "SET innodb_lock_wait_timeout = 1",
    }
    with connection.cursor() as cursor:
        cursor.execute(statements[connection.vendor])


def _somebody_waits_for_a_lock() -> bool:
    question = {
        "postgresql": "SELECT COUNT(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'",
        "mysql": "SELECT COUNT(*) FROM information_schema.innodb_trx AS trx "
        "JOIN information_schema.processlist AS its ON its.id = trx.trx_mysql_thread_id "
        "WHERE trx.trx_state = 'LOCK WAIT' AND its.db = DATABASE()",
    }
    with connection.cursor() as cursor:
        cursor.execute(question[connection.vendor])
        return bool(cursor.fetchone()[0])


def until_somebody_waits_for_a_lock() -> None:
    ends = time.monotonic() + TIMEOUT
    # On another connection: a transaction of PostgreSQL is told the same each time.
    while not elsewhere(_somebody_waits_for_a_lock):
        assert time.monotonic() < ends, "nobody waits"
        # No database tells of it, it has to be asked; MariaDB looks anew only if it was not asked
        # for 0.1 s.
        time.sleep(0.15)


# -- other processes


def environment() -> dict[str, str]:
    """The environment in which `tests.settings` use the database of this very test."""
    inherited = {**os.environ}
    inherited.pop("DJANGO_SSE_TEST_DATABASE_URL", None)
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        where = {"DJANGO_SSE_TEST_DB": str(database["NAME"])}
    else:
        where = {"DJANGO_SSE_TEST_DATABASE_URL": url_of(database)}
    return {**inherited, **where, "DJANGO_SETTINGS_MODULE": "tests.settings"}


_PRELUDE = """
import os, signal, sys
import django
django.setup()
from django.db import transaction
from django_sse import *

def others_wait():
    '''Return once no other thread runs: a child that is forked from one that does has its locks.'''
    import threading, time
    def places():
        frames = sys._current_frames()
        frames.pop(threading.get_ident())
        return {(thread, frame.f_code, frame.f_lasti) for thread, frame in frames.items()}
    ends, same, before = time.monotonic() + 60, 0, None
    while same < 5 and time.monotonic() < ends:
        time.sleep(0.02)
        same, before = (same + 1 if places() == before else 0), places()
"""


def start_python(code: str, *args: str) -> subprocess.Popen[str]:
    """A process that runs `code`, with Django set up, on the database of this test."""
    return subprocess.Popen(
        [sys.executable, "-c", _PRELUDE + dedent(code), *args],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(code: str, *args: str) -> tuple[int, str]:
    """How a process that ran `code` ended, and what it wrote to stdout and stderr."""
    with start_python(code, *args) as process:
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return process.returncode, out + err


def publish_and_die(call: str) -> None:
    """A process commits what `call` publishes and is killed before the hook that sequences it."""
    code, output = run_python(
        f"""
        with transaction.atomic():
            transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
            {call}
        """
    )
    assert code == -9, output


# -- the caller's transaction


def skip_unless_writers_overlap(log: EventLog | None = None) -> None:
    if connection.vendor == "sqlite" and not isinstance(log, MemoryLog):
        pytest.skip("SQLite has one writer at a time: PostgreSQL and MariaDB show it")


class RollBack(Exception):
    """Raised to leave a block."""


@contextmanager
def rolled_back(using: str = "default") -> Iterator[None]:
    """An `atomic` block that is rolled back."""
    with suppress(RollBack), transaction.atomic(using=using):
        yield
        raise RollBack


def savepoint_by_hand() -> str:
    # Renamed in Django 6.1, which warns of the old name.
    create = getattr(transaction, "savepoint_create", None) or transaction.savepoint
    made: str = create()
    return made


# -- events that nobody sequenced yet


class HookFailed(Exception):
    """Raised by a hook of the project's, before ours."""


@contextmanager
def hooks_lost(before: Callable[[], object] = lambda: None) -> Iterator[None]:
    """A transaction that commits, and whose hooks do not run, save those that `before` adds."""

    def fail() -> None:
        raise HookFailed

    with suppress(HookFailed), transaction.atomic():
        before()
        transaction.on_commit(fail)
        yield


def orphan(log: EventLog, *entries: Entry) -> None:
    """Commit `entries` to the outbox, and leave them there."""
    before = OutboxEvent.objects.count()
    with hooks_lost():
        log.defer(list(entries), announce_nothing)
    assert OutboxEvent.objects.count() == before + len(entries)


def announce_nothing(appended: list[Appended]) -> None:
    """Nobody listens."""


# -- many events


def fill(channel: str, count: int, size: int) -> None:
    """A channel of `count` events, a power of ten, made by the database itself."""
    now = timezone.now()
    row = Channel.objects.create(
        name=channel,
        name_hash=channel_hash(channel),
        epoch="e" * 11,
        created=now,
        head=count,
        head_tag=tag_of(1),
    )
    digits = "(SELECT 0 AS d" + "".join(f" UNION ALL SELECT {d}" for d in range(1, 10)) + ")"
    places = len(str(count)) - 1
    seq = " + ".join(f"t{place}.d * {10**place}" for place in range(places)) + " + 1"
    tables = ", ".join(f"{digits} AS t{place}" for place in range(places))
    with connection.cursor() as database:
        database.execute(
            "INSERT INTO django_sse_storedevent "
            "(channel_id, seq, kind, type, data, created, nonce) "
            f"SELECT %s, {seq}, 0, '', %s, %s, 1 FROM {tables}",
            [row.pk, "x" * size, connection.ops.adapt_datetimefield_value(now)],
        )


# -- signals


@contextmanager
def dropped() -> Iterator[list[tuple[str, int]]]:
    """Collects what `events_dropped` tells: channel and count."""
    heard: list[tuple[str, int]] = []

    def listen(channel: str, count: int, **kwargs: Any) -> None:
        heard.append((channel, count))

    events_dropped.connect(listen)
    try:
        yield heard
    finally:
        events_dropped.disconnect(listen)


# -- databases


@contextmanager
def another_database(alias: str, **config: Any) -> Iterator[str]:
    """Adds a database to the project. Before the test begins: Django lets a test use those only
    that were there by then, and are named in its mark."""
    configured = connections.configure_settings({"default": {}, alias: config})
    connections.databases[alias] = configured[alias]
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.databases[alias]


@contextmanager
def as_default(config: dict[str, Any]) -> Iterator[None]:
    """Everything that speaks of the "default" database means another one, in all threads."""
    before = connections.databases["default"]
    connections["default"].close()
    old = connections["default"]
    connections.databases["default"] = connections.configure_settings({"default": config})[
        "default"
    ]
    del connections["default"]
    try:
        yield
    finally:
        connections["default"].close()
        connections.databases["default"] = before
        connections["default"] = old


@contextmanager
def second_database(directory: Path) -> Iterator[str]:
    """A migrated SQLite file, as the alias "other"."""
    engine, name = "django.db.backends.sqlite3", str(directory / "other.sqlite3")
    with another_database("other", ENGINE=engine, NAME=name) as alias:
        # Of all apps: after each test Django asks all of them what belongs in an empty database.
        call_command("migrate", database=alias, verbosity=0)
        yield alias
