"""Differences between the databases that the ORM does not hide."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from django.db.models.functions import Now

from django_sse.exceptions import EventTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.backends.utils import CursorWrapper

BATCH = 500

# MySQL and MariaDB refuse a statement larger than max_allowed_packet: 16 MiB by default, 4 MiB in
# older versions. A character has up to 4 bytes.
STATEMENT_CHARACTERS = 512 << 10


class DatabaseNow(Now):
    """The database's clock.

    Django stores UTC on MySQL and MariaDB, but ``CURRENT_TIMESTAMP`` is in the session's time zone
    there, and Django does not set it.
    """

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        if connection.timezone_name != "UTC":
            return super().as_mysql(compiler, connection, **context)
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)


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
