"""What the ORM leaves open between the databases."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from django.db.models.functions import Now

from django_sse.exceptions import EventTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.backends.utils import CursorWrapper

BATCH = 500

# MySQL and MariaDB refuse a statement of more than max_allowed_packet: 16 MiB by default, 4 MiB on
# older ones. A character is up to 4 bytes.
STATEMENT_CHARACTERS = 512 << 10


class DatabaseNow(Now):
    """The database's clock. Django stores UTC on MySQL and MariaDB, but there ``CURRENT_TIMESTAMP``
    is in the time zone of the session, which Django leaves as the server has it."""

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        if connection.timezone_name != "UTC":
            return super().as_mysql(compiler, connection, **context)
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)


def insert(cursor: CursorWrapper, sql: str, rows: Sequence[Sequence[Any]]) -> None:
    """Execute ``sql`` for each of ``rows``."""
    if len(rows) == 1:
        # psycopg makes a pipeline for many, which costs as much as the statement.
        cursor.execute(sql, rows[0])
    else:
        # The driver divides them where it must.
        cursor.executemany(sql, rows)


def refuse_over_packet(cursor: CursorWrapper, texts: Iterable[str]) -> None:
    """Raises ``EventTooLarge`` for data that MySQL or MariaDB would answer by cutting the
    connection."""
    if cursor.db.vendor != "mysql":
        return
    largest = max(texts, key=len, default="")
    if len(largest) <= STATEMENT_CHARACTERS:
        return
    cursor.execute("SELECT @@max_allowed_packet")
    (packet,) = cursor.fetchone()
    size = len(largest.encode())
    # Drivers escape the text on its way, which can double it.
    if 2 * size > packet:
        raise EventTooLarge(
            f"The data is {size} bytes, more than half of max_allowed_packet ({packet}) of the "
            f"database {cursor.db.alias!r}. Raise that on the server, or store the data elsewhere "
            "and publish a reference to it."
        )


def channel_hash(name: str) -> str:
    """The unique key of a channel: names are compared to the letter on every database."""
    return hashlib.sha256(name.encode()).hexdigest()
