"""Differences between the databases that the ORM does not hide."""

from __future__ import annotations

import hashlib
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

from django.db.models.functions import Now

from django_sse.exceptions import EventTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

T = TypeVar("T")

# The number of rows that one query asks about.
BATCH = 500

# MySQL and MariaDB refuse a statement larger than max_allowed_packet: 16 MiB by default, 4 MiB in
# older versions. A character has up to 4 bytes.
STATEMENT_CHARACTERS = 512 << 10


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield ``items`` in lists of at most ``BATCH``."""
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


class DatabaseNow(Now):
    """The database's clock, in the time zone in which Django stores times there.

    That is UTC, or with ``USE_TZ = False`` the project's zone. SQLite's clock is in UTC. MySQL and
    MariaDB have theirs in the session's zone, which Django does not set. ``DatabaseNow(ago=60)`` is
    the time a minute ago.
    """

    @property
    def _ago(self) -> int:
        return int(self.extra.get("ago", 0))

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        clock = f"(STATEMENT_TIMESTAMP() - INTERVAL '{self._ago} seconds')"
        if not self._ago:
            clock = "STATEMENT_TIMESTAMP()"
        return self.as_sql(compiler, connection, template=clock, **context)

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        clock = f"(UTC_TIMESTAMP(6) + INTERVAL {utc_offset(connection) - self._ago} SECOND)"
        return self.as_sql(compiler, connection, template=clock, **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        offset = utc_offset(connection) - self._ago
        # %% for the cursor, and again for the template.
        fields = "%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f"
        clock = f"STRFTIME('{fields}', 'NOW', '{offset:+d} seconds')"
        return self.as_sql(compiler, connection, template=clock, **context)


def utc_offset(connection: BaseDatabaseWrapper) -> int:
    """Return how many seconds the zone in which Django stores times is ahead of UTC now."""
    if connection.timezone_name == "UTC":
        return 0
    offset = datetime.now(ZoneInfo(connection.timezone_name)).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def insert(cursor: CursorWrapper, sql: str, rows: Sequence[Sequence[Any]]) -> None:
    """Execute ``sql`` for each of ``rows``."""
    if len(rows) == 1:
        # psycopg's executemany starts a pipeline, which costs as much as the statement.
        cursor.execute(sql, rows[0])
    else:
        # The driver splits the rows if it has to.
        cursor.executemany(sql, rows)


def refuse_over_packet(cursor: CursorWrapper, texts: Iterable[str]) -> None:
    """Raise ``EventTooLarge`` if MySQL or MariaDB would close the connection on such large data."""
    if cursor.db.vendor != "mysql":
        return
    largest = max(texts, key=len, default="")
    if len(largest) <= STATEMENT_CHARACTERS:
        return
    cursor.execute("SELECT @@max_allowed_packet")
    (packet,) = cursor.fetchone()
    size = len(largest.encode())
    # Drivers escape the text, which can double its size.
    if 2 * size > packet:
        raise EventTooLarge(
            f"The data is {size} bytes, more than half of max_allowed_packet ({packet}) of the "
            f"database {cursor.db.alias!r}. Raise max_allowed_packet on the server, or store the "
            "data elsewhere and publish a reference to it."
        )


def channel_hash(name: str) -> str:
    """Return the unique key of a channel, so that every database compares names exactly."""
    return hashlib.sha256(name.encode()).hexdigest()
