"""Wake-ups with nothing installed: look at the database that holds the log.

On SQLite a look is ``PRAGMA data_version``, which changes when another connection committed; only
then the heads are queried. Elsewhere the heads are queried at each look, one query a process
whatever the number of its clients.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from django.core import checks, mail
from django.db import connections

from django_sse import conf
from django_sse.notifiers.base import Notifier, Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Seconds. Not the pace of the safety poll: its own connection would be open at every turn.
_CONNECTION_AGE = 3.0


class DatabaseNotifier(Notifier):
    """Polls; hears every process that writes to the same database."""

    supports_other_processes = True
    supports_polling = True

    def notify(self, wakeups: Sequence[Wakeup]) -> None:
        """Nothing: the commit itself is what the others see."""

    async def listen(self, wake: Callable[[Wakeup | None], None]) -> None:
        settings = conf.current()
        if connections[settings.DATABASE].vendor == "sqlite":
            await _watch_data_version(settings, wake)
        while True:
            wake(None)
            await asyncio.sleep(settings.HEAD_INTERVAL)

    def check(self) -> list[checks.CheckMessage]:
        if hasattr(mail, "outbox"):
            # A test run, where a database in memory is what Django makes of one in a file.
            return []
        connection = connections[conf.current().DATABASE]
        if connection.vendor == "sqlite" and connection.is_in_memory_db():  # type: ignore[attr-defined]
            return [
                checks.Warning(
                    "The event log is in a SQLite database in memory: no other process can see it.",
                    hint="Use a file, or NOTIFIER = 'local'.",
                    id="django_sse.W004",
                )
            ]
        return []


async def _watch_data_version(
    settings: conf.Settings, wake: Callable[[Wakeup | None], None]
) -> None:
    """Until cancelled: a thread with a connection of its own looks, the loop is told."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    stop = threading.Event()

    def tell(error: Exception | None = None) -> None:
        if ended.done():
            return
        if error is not None:
            ended.set_exception(error)
        else:
            wake(None)

    def look() -> None:
        # A loop that is closed has no streams left to wake.
        with suppress(RuntimeError):
            try:
                _poll(settings, stop, lambda: loop.call_soon_threadsafe(tell))
            except Exception as error:
                # Whatever it is: a thread that ended in silence would leave the hub deaf.
                loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=look, name="django_sse-data-version", daemon=True).start()
    try:
        await ended
    finally:
        stop.set()


def _poll(settings: conf.Settings, stop: threading.Event, changed: Callable[[], object]) -> None:
    while not stop.is_set():
        _look_for_a_while(settings, stop, changed)


def _look_for_a_while(
    settings: conf.Settings, stop: threading.Event, changed: Callable[[], object]
) -> None:
    """Look with one connection, and close it after a while.

    SQLite cannot close a file while another connection of the process has a lock on it (POSIX locks
    go with the first close), and in WAL mode an open connection always has one: without a pause
    from time to time every connection that any thread ever closed would leave its file open.
    """
    connection = connections[settings.DATABASE]
    connection.ensure_connection()
    # Of another connection, so the first look always counts as a change.
    seen: int | None = None
    until = time.monotonic() + _CONNECTION_AGE
    try:
        # The driver's connection: Django's cursor would log fifty queries a second under DEBUG.
        with connection.wrap_database_errors:
            while not stop.is_set() and time.monotonic() < until:
                # Does not move for this connection's own commits: it makes none.
                version: int = connection.connection.execute("PRAGMA data_version").fetchone()[0]
                if version != seen:
                    seen = version
                    changed()
                stop.wait(settings.POLL_INTERVAL)
    finally:
        connection.close()
