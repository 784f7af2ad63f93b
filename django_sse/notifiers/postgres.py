"""Wake-ups through PostgreSQL's LISTEN and NOTIFY.

One connection for each hub listens. It is of its own, whatever pool Django has: LISTEN belongs to a
session, so a pooler in transaction mode (PgBouncer) loses it. Then the option ``dsn`` has to lead
past the pooler. NOTIFY is a statement of its own after the commit (inside the transaction its
global lock halves throughput: docs/decisions.md), on another connection that is closed when idle.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from django_sse import conf
from django_sse.notifiers.base import Notifier, Wakeup
from django_sse.notifiers.database import watch_heads
from django_sse.notifiers.outage import Outage
from django_sse.notifiers.payload import Reader, address
from django_sse.notifiers.sender import Sender
from django_sse.process.testcase import in_test_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    import psycopg

_PROBE_AFTER = 5.0
"""Seconds of silence after which the connection is probed."""

_PROBE_LIMIT = 3.0
"""Seconds that the answer may take."""

# libpq's parameters: seconds, and milliseconds without an acknowledgement. The project's own win.
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 5000,
    "fallback_application_name": "django_sse",
    # A pooler may give each statement to another session.
    "prepare_threshold": None,
}


@cache
def has_psycopg() -> bool:
    """Whether psycopg 3 is installed: psycopg2 cannot listen on an event loop."""
    return find_spec("psycopg") is not None


def behind_a_pooler(alias: str) -> bool:
    """Whether the settings tell of a pooler in transaction mode in front of the database ``alias``.

    Django's documentation asks for DISABLE_SERVER_SIDE_CURSORS there.
    """
    return bool(connections[alias].settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"))


class PostgresNotifier(Notifier):
    """LISTEN/NOTIFY in the database of the log, or in the database at ``dsn``."""

    supports_other_processes = True

    def __init__(self, *, dsn: str | None = None) -> None:
        """Listen and notify at ``dsn``: a URL, or ``host=... dbname=...``.

        It must lead past a pooler in transaction mode (PgBouncer). None is the log's database.
        """
        self._dsn = dsn
        if has_psycopg():
            # Not in the sender's thread: a process that forks meanwhile would give its child a
            # half-imported module.
            import_module("psycopg")
        self._reader = Reader("NOTIFY")
        self._sender = Sender(self._sending, "NOTIFY cannot be sent")

    def notify(self, wakeups: Sequence[Wakeup]) -> None:
        if not self._polls():
            self._sender.put(wakeups)

    async def listen(self, wake: Callable[[Wakeup | None], None]) -> None:
        if self._polls():
            await watch_heads(wake)
        outage = Outage("LISTEN hears nothing")
        while True:
            try:
                await self._hear(wake, outage)
            except Exception as error:
                # Any error: it is logged once, and not every second for as long as it lasts.
                await asyncio.sleep(outage.failed(error))

    async def _hear(self, wake: Callable[[Wakeup | None], None], outage: Outage) -> None:
        """Listen until the connection is lost, which raises."""
        environment = conf.current().ENVIRONMENT
        connection = await self._connect()
        try:
            # For notifications that arrive with the answer to another statement.
            connection.add_notify_handler(
                lambda notify: self._reader.read(notify.payload, environment, wake)
            )
            await _listen_to(connection, address(environment))
            outage.over()
            wake(None)
            while True:
                if not await _readable(connection.fileno(), _PROBE_AFTER):
                    async with asyncio.timeout(_PROBE_LIMIT):
                        await connection.execute("SELECT 1")
                for payload in _arrived(connection):
                    self._reader.read(payload, environment, wake)
        finally:
            await connection.close()

    def check(self) -> list[checks.CheckMessage]:
        if not has_psycopg():
            return [
                checks.Error(
                    "NOTIFIER is 'postgres', which needs psycopg 3; psycopg2 is not enough.",
                    hint='pip install "django-event-streams[postgres]"; Django uses it, too.',
                    id="django_sse.E010",
                )
            ]
        settings = conf.current()
        if self._dsn is not None:
            return _dsn_errors(self._dsn)
        if connections[settings.DATABASE].vendor != "postgresql":
            return [
                checks.Error(
                    f"NOTIFIER is 'postgres', but the database {settings.DATABASE!r} is not "
                    "PostgreSQL.",
                    hint="Use another NOTIFIER ('auto'), or set its option \"dsn\".",
                    id="django_sse.E011",
                )
            ]
        return [_pooler(settings.DATABASE)] if behind_a_pooler(settings.DATABASE) else []

    def check_reachable(self) -> list[checks.CheckMessage]:
        import psycopg

        try:
            psycopg.connect(**self._parameters()).close()
        except (psycopg.Error, ImproperlyConfigured) as error:
            return [
                checks.Warning(
                    f"NOTIFIER is 'postgres', and there is no connection: {error}",
                    hint="Without it only the safety poll finds what other processes publish.",
                    id="django_sse.W002",
                )
            ]
        return []

    def _polls(self) -> bool:
        """Whether this is a test run on a database that Django makes for it.

        PostgreSQL refuses to drop a database while somebody listens to it, so a project's test run
        would fail at its end.
        """
        return in_test_run() and self._dsn is None

    def _parameters(self) -> dict[str, Any]:
        """Return the connection string: ``dsn``, or the one that Django uses."""
        if self._dsn is not None:
            return {**_DEFAULTS, **_parsed(self._dsn), "autocommit": True}
        parameters = connections[conf.current().DATABASE].get_connection_params()
        # Of Django's cursors, which are not used here.
        for name in ("cursor_factory", "context"):
            parameters.pop(name, None)
        return {**_DEFAULTS, **parameters, "autocommit": True}

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        import psycopg

        return await psycopg.AsyncConnection.connect(**self._parameters())

    @asynccontextmanager
    async def _sending(self) -> AsyncIterator[Callable[[str], Any]]:
        connection = await self._connect()
        try:
            yield partial(_send, connection, address(conf.current().ENVIRONMENT))
        finally:
            await connection.close()


def _pooler(alias: str) -> checks.CheckMessage:
    return checks.Warning(
        f"DISABLE_SERVER_SIDE_CURSORS of the database {alias!r} says that it is behind a pooler in "
        "transaction mode, where LISTEN receives nothing.",
        hint='Set the option "dsn" of NOTIFIER to a way past the pooler, or silence this.',
        id="django_sse.W006",
    )


def _dsn_errors(dsn: str) -> list[checks.CheckMessage]:
    try:
        _parsed(dsn)
    except ImproperlyConfigured as error:
        return [
            checks.Error(
                str(error),
                hint='For example "postgresql://user:password@host:5432/name". Percent-encode the '
                "characters that a URL reserves, such as @ or / in a password (%40, %2F).",
                id="django_sse.E013",
            )
        ]
    return []


def _parsed(dsn: str) -> dict[str, Any]:
    """The parameters in ``dsn``. Raises ``ImproperlyConfigured``, without any part of it."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    error = ImproperlyConfigured(
        "The option \"dsn\" of NOTIFIER 'postgres' is neither a URL nor a list of parameters that "
        "libpq understands. It is not shown here: it may contain a password."
    )
    try:
        parameters = conninfo_to_dict(dsn)
    except (psycopg.Error, UnicodeError):
        # libpq's own error quotes the part that it does not understand.
        raise error from None
    if _is_torn(parameters):
        raise error
    return parameters


def _is_torn(parameters: dict[str, Any]) -> bool:
    """Whether a part of a password ended up in the host or the port, which errors show: libpq ends
    the password of a URL at its first ``@``, and a host at ``/``."""
    # A leading @ is libpq's sign for an abstract socket.
    hosts = str(parameters.get("host", "")).split(",")
    ports = filter(None, str(parameters.get("port", "")).split(","))
    return any("@" in host[1:] for host in hosts) or not all(
        port.strip().isdigit() for port in ports
    )


async def _listen_to(connection: psycopg.AsyncConnection[Any], name: str) -> None:
    from psycopg import sql

    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(name)))


async def _readable(descriptor: int, timeout: float) -> bool:
    """Wait for something to read. False after ``timeout`` seconds.

    Not psycopg's ``notifies()``, which polls ten times a second.
    """
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[bool] = loop.create_future()
    timer = loop.call_later(timeout, _settle, readable, False)
    loop.add_reader(descriptor, _settle, readable, True)
    try:
        return await readable
    finally:
        loop.remove_reader(descriptor)
        timer.cancel()


def _settle(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)


def _arrived(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    """The payloads received so far. Raises ``OperationalError`` if the connection is lost."""
    connection.pgconn.consume_input()
    # Anything that is not UTF-8 is not ours; the reader refuses it like every other wrong message.
    return [
        notify.extra.decode(errors="replace") for notify in iter(connection.pgconn.notifies, None)
    ]


async def _send(connection: psycopg.AsyncConnection[Any], name: str, message: str) -> None:
    await connection.execute("SELECT pg_notify(%s, %s)", (name, message))
