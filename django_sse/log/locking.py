"""Creating the rows of channels, and waiting for their locks while holding no other lock.

A transaction that waits for one row while it has locked others delays all writers to those. So it
waits for at most one row, which it locks first, and skips all others that are locked. A wait ends
after ``LOCK_STEP`` seconds, and starts again.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from django.db import Error, OperationalError, connections

from django_sse import constants
from django_sse.exceptions import ChannelLocked
from django_sse.log import transactions
from django_sse.log.orm import DatabaseNow, channel_hash
from django_sse.log.statements import LOCK_STEP, statements
from django_sse.models import Channel
from django_sse.wire.cursor import make_epoch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

T = TypeVar("T")

# PostgreSQL: lock_not_available. MySQL and MariaDB: lock wait time-out.
_SQLSTATE = "55P03"
_ERRNO = 1205


# Seconds for which the creation of a channel waits while another transaction creates it. MariaDB
# counts whole seconds, so there it does not wait.
_MAKE_WAIT = 0.05


class StillLocked(Exception):
    """A statement waited for a lock for its whole time."""


def absent(cursor: CursorWrapper, names: Sequence[str]) -> list[str]:
    """Return those of the channels ``names`` that have no row."""
    hashes = {channel_hash(name): name for name in names}
    cursor.execute(statements(cursor.db).existing(len(hashes)), list(hashes))
    existing = {found for (found,) in cursor.fetchall()}
    return [name for each, name in hashes.items() if each not in existing]


@contextmanager
def bounded(alias: str, seconds: float = LOCK_STEP) -> Iterator[None]:
    """Open a transaction whose statements, after ``bound``, wait at most ``seconds`` for a lock.

    Raises ``StillLocked`` after that. Restores the session's settings at the end. On MariaDB
    ``Statements.lock`` has its own time-out, and needs no setting.
    """
    connection = connections[alias]
    with _session_bounded(connection, int(seconds)), transactions.read_committed(alias):
        try:
            yield
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) == _SQLSTATE or _ERRNO in error.args[:1]:
                raise StillLocked from error
            raise


def bound(cursor: CursorWrapper, seconds: float = LOCK_STEP) -> None:
    """Bound how long the statements of this transaction wait for a lock; see ``bounded``."""
    if cursor.db.vendor == "postgresql":
        # It ends with the transaction.
        cursor.execute(f"SET LOCAL lock_timeout = {seconds * 1000:.0f}")


def _sets_session(connection: BaseDatabaseWrapper, seconds: float) -> bool:
    """Return whether ``bounded`` has to set a variable of the session, with three statements."""
    if connection.vendor != "mysql":
        return False
    return seconds != LOCK_STEP or not getattr(connection, "mysql_is_mariadb", False)


@contextmanager
def _session_bounded(connection: BaseDatabaseWrapper, seconds: int) -> Iterator[None]:
    if connection.in_atomic_block or not _sets_session(connection, seconds):
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@innodb_lock_wait_timeout")
        (before,) = cursor.fetchone()
        cursor.execute("SET innodb_lock_wait_timeout = %s", [seconds])
    try:
        yield
    finally:
        # The settings of a lost connection are gone with it.
        with suppress(Error), connection.cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = %s", [before])


@contextmanager
def held(alias: str, channel: str) -> Iterator[None]:
    """Open a transaction that has locked ``channel``. Raises ``StillLocked``."""
    with bounded(alias), connections[alias].cursor() as cursor:
        written = statements(cursor.db)
        if written.skips_locked:
            bound(cursor)
            cursor.execute(written.lock(1), [channel_hash(channel)])
            cursor.fetchall()
        yield


def patiently(alias: str, channel: str, work: Callable[[], T]) -> T:
    """Run ``work``, which locks ``channel`` first, as ``transactions.run`` does.

    Raises ``ChannelLocked`` if the channel stays locked for ``LOCK_WAIT`` seconds.
    """
    ends = time.monotonic() + constants.LOCK_WAIT
    while True:
        try:
            return transactions.run(alias, work)
        except StillLocked:
            if time.monotonic() >= ends:
                raise ChannelLocked(channel) from None


def make_channels(alias: str, names: Iterable[str]) -> None:
    """Create the rows of the channels ``names`` that do not exist yet.

    Never call it inside the append's own transaction, which would hold its locks while the insert
    waits. The rows are sorted, because two inserts of the same names in opposite order deadlock.
    """
    now = DatabaseNow()
    rows = [
        Channel(
            name=name,
            name_hash=channel_hash(name),
            epoch=make_epoch(),
            created=now,
        )
        for name in sorted(names)
    ]
    Channel.objects.using(alias).bulk_create(rows, ignore_conflicts=True)


def make_absent(alias: str, names: Iterable[str]) -> list[str]:
    """Create the channels ``names``; return those that another transaction is creating.

    It waits only a moment for that transaction, which may be stuck.
    """
    names = sorted(names)

    def make() -> None:
        with bounded(alias, _MAKE_WAIT), connections[alias].cursor() as cursor:
            bound(cursor, _MAKE_WAIT)
            make_channels(alias, names)

    try:
        if names:
            transactions.run(alias, make)
    except StillLocked:
        if len(names) == 1:
            return names
        # One of them kept all from being created: try each.
        return [each for name in names for each in make_absent(alias, [name])]
    return []
