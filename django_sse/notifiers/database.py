"""Wake-ups with nothing installed: poll the database that holds the log.

On SQLite a poll reads ``PRAGMA data_version``, which changes when another connection commits; only
then are the log's newest rows queried. On other databases each poll queries the heads, with one
query for the whole process.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import connections

from django_sse import conf
from django_sse.models import Channel, StoredEvent
from django_sse.notifiers.base import Notifier, Wakeup
from django_sse.process import threads
from django_sse.process.testcase import in_test_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Seconds. Not SAFETY_INTERVAL: the safety poll would always meet this connection open.
_CONNECTION_AGE = 3.0
# While others write it polls this many times as often, until they have been quiet for so long.
_HURRY = 5
_HURRY_SECONDS = 1.0
# Looking at all channels may take this fraction of the time.
_SHARE = 20

_EVENTS, _CHANNELS = StoredEvent._meta.db_table, Channel._meta.db_table
_CHANGES = f"""
    SELECT (SELECT COALESCE(MAX(id), 0) FROM {_EVENTS}),
    COUNT(*), TOTAL(redactions), MAX(id) FROM {_CHANNELS}
"""
_NEWS = f"""
    SELECT channel.name, channel.epoch, channel.head, channel.head_tag, MAX(event.id)
    FROM {_EVENTS} event JOIN {_CHANNELS} channel ON channel.id = event.channel_id
    WHERE event.id > ? GROUP BY channel.id
"""


HEAD_INTERVAL = 0.25


class DatabaseNotifier(Notifier):
    """Wake-ups by polling, from every process that writes to the same database."""

    supports_other_processes = True
    supports_polling = True

    def __init__(
        self, *, poll_interval: float = 0.02, head_interval: float = HEAD_INTERVAL
    ) -> None:
        """Poll SQLite's ``data_version`` every ``poll_interval`` seconds, other databases' heads
        every ``head_interval`` seconds.

        A look at ``data_version`` takes about 10 us. While others write, the interval is a fifth.
        """
        self._poll_interval = poll_interval
        self._head_interval = head_interval

    def notify(self, wakeups: Sequence[Wakeup]) -> None:
        """Do nothing: the other processes see the commit itself."""

    async def listen(self, wake: Callable[[Wakeup | None], None]) -> None:
        settings = conf.current()
        if _is_in_memory(settings):
            # No other process can write to it, and a poll would fail: threads share its cache, in
            # which the transaction of a TestCase locks the tables, even for reading.
            wake(None)
            await asyncio.get_running_loop().create_future()
        elif connections[settings.DATABASE].vendor == "sqlite":
            watch = partial(_Watch, settings.DATABASE, self._poll_interval, self._head_interval)
            await _watch_data_version(watch, wake)
        else:
            await watch_heads(wake, self._head_interval)

    def check(self) -> list[checks.CheckMessage]:
        if not (self._poll_interval and self._head_interval):
            return [
                checks.Error(
                    "The OPTIONS poll_interval and head_interval of NOTIFIER 'database' must be "
                    "more than zero.",
                    hint=f"The defaults are 0.02 and {HEAD_INTERVAL}.",
                    id="django_sse.E004",
                )
            ]
        if in_test_run():
            # A test run, where a database in memory is what Django makes of one in a file.
            return []
        if _is_in_memory(conf.current()):
            return [
                checks.Warning(
                    "The event log is in a SQLite database in memory: no other process can see it.",
                    hint="Use a file, or NOTIFIER = 'local'.",
                    id="django_sse.W004",
                )
            ]
        return []


def _is_in_memory(settings: conf.Settings) -> bool:
    connection = connections[settings.DATABASE]
    return connection.vendor == "sqlite" and connection.is_in_memory_db()  # type: ignore[attr-defined]


async def watch_heads(
    wake: Callable[[Wakeup | None], None], interval: float = HEAD_INTERVAL
) -> None:
    """Have the heads compared every ``interval`` seconds until cancelled."""
    while True:
        wake(None)
        await asyncio.sleep(interval)


async def _watch_data_version(
    make: Callable[[Callable[[Sequence[Wakeup | None]], object]], _Watch],
    wake: Callable[[Wakeup | None], None],
) -> None:
    """Run the watch that ``make`` gives in a thread, and call ``wake`` on the loop, until
    cancelled."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    stop = threading.Event()

    def hear(wakeups: Sequence[Wakeup | None]) -> None:
        if not ended.done():
            for wakeup in wakeups:
                wake(wakeup)

    def fail(error: Exception) -> None:
        if not ended.done():
            ended.set_exception(error)

    def look() -> None:
        # A closed loop has no streams left to wake.
        with suppress(RuntimeError):
            try:
                watch = make(lambda told: loop.call_soon_threadsafe(hear, told))
                while not stop.is_set():
                    watch.look_for_a_while(stop)
            except Exception as error:
                # Any error: without it the hub would not know that nobody polls any more.
                loop.call_soon_threadsafe(fail, error)

    threads.start(look, name="django_sse-data-version")
    try:
        await ended
    finally:
        stop.set()


class _Watch:
    """A watch for commits of other connections.

    It calls ``tell`` with the channels that have new events, and with None when channels changed
    otherwise (an event was redacted, a channel removed).
    """

    def __init__(
        self,
        alias: str,
        poll_interval: float,
        head_interval: float,
        tell: Callable[[Sequence[Wakeup | None]], object],
    ) -> None:
        self._poll_interval, self._head_interval = poll_interval, head_interval
        self._connection = connections[alias]
        self._tell = tell
        self._newest: int | None = None
        self._changed_at = self._compare_at = 0.0
        self._changed = False
        self._channels: tuple[Any, ...] = ()

    def look_for_a_while(self, stop: threading.Event) -> None:
        """Poll with one connection, and close it after a while.

        SQLite cannot close a file while another connection of the process has a lock on it (the
        first close drops POSIX locks), and in WAL mode an open connection always has one. Without
        a pause, every connection that any thread closes would leave its file open.
        """
        self._connection.ensure_connection()
        # The value belongs to one connection, so the first poll always counts as a change.
        seen: int | None = None
        until = time.monotonic() + _CONNECTION_AGE
        try:
            with self._connection.wrap_database_errors:
                while not stop.is_set() and (now := time.monotonic()) < until:
                    # This connection's own commits would not change it; it makes none.
                    ((version,),) = self._ask("PRAGMA data_version")
                    if seen is None:
                        # Something may have changed while no connection was open.
                        self._channels = ()
                    if version != seen:
                        seen, self._changed_at, self._changed = version, now, True
                        self._tell_news()
                    if self._changed and now >= self._compare_at:
                        self._changed = False
                        self._compare_channels(now)
                    stop.wait(self._pause(now))
        finally:
            self._connection.close()

    def _pause(self, now: float) -> float:
        hurries = now - self._changed_at < _HURRY_SECONDS
        return self._poll_interval / (_HURRY if hurries else 1)

    def _ask(self, statement: str, *values: int) -> list[Any]:
        # With the driver's connection: Django's cursor would log fifty queries a second in DEBUG.
        return list(self._connection.connection.execute(statement, values))

    def _tell_news(self) -> None:
        # SQLite has one writer at a time, so the keys are in the order of the commits.
        if self._newest is not None and (found := self._ask(_NEWS, self._newest)):
            self._newest = max(row[-1] for row in found)
            self._tell([Wakeup(*row[:-1]) for row in found])

    def _compare_channels(self, now: float) -> None:
        """Wake for everything if channels changed otherwise than by new events. Not done at every
        commit, because the query reads all channels."""
        ((newest, *channels),) = self._ask(_CHANGES)
        if self._newest is None or newest < self._newest:
            # The first poll, or a log that was restored. Never forwards: what was committed since
            # the last news has not been told yet.
            self._newest, self._channels = newest, ()
        if tuple(channels) != self._channels:
            self._channels = tuple(channels)
            self._tell([None])
        took = time.monotonic() - now
        self._compare_at = now + max(self._head_interval, _SHARE * took)
