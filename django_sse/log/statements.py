"""The statements that run for each event, written by hand and built once in a process.

The ORM builds and compiles a statement each time it runs. Of the 2.4 ms of CPU time that a publish
took on SQLite, the ORM used 2.2, while the channel's row was locked and no event loop of the
process could run. Everything that does not run for each event uses the ORM.

Table and column names come from the models; quoting, locking and the clock come from the backend.
``%`` is doubled, so each statement must be executed *with* its parameters, which its docstring
lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models.functions import Length

from django_sse.log import transactions
from django_sse.log.base import KEY_AGE
from django_sse.log.orm import DatabaseNow, utc_offset
from django_sse.models import Channel, EventKey, OutboxEvent, StoredEvent

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Func, Model

LOCK_STEP = 1
"""Seconds for which ``lock`` waits for a locked row on MariaDB, which counts whole seconds."""

_written: dict[tuple[str, str, int], Statements] = {}


def statements(connection: BaseDatabaseWrapper) -> Statements:
    """Return the statements for the database engine and the time zone of ``connection``.

    Some of them have the zone's offset from UTC, which changes in spring and in autumn. Raises
    ``LogUnavailable``.
    """
    key = (connection.settings_dict["ENGINE"], connection.timezone_name, utc_offset(connection))
    if key not in _written:
        # Django asks MySQL for its version, so the database may fail here.
        _written[key] = transactions.run(connection.alias, lambda: Statements(connection))
    return _written[key]


# The database's clock, in seconds since 1970, whatever its time zone.
_CLOCKS = {
    "sqlite": "SELECT STRFTIME('%%s', 'NOW')",
    "mysql": "SELECT UNIX_TIMESTAMP()",
    "postgresql": "SELECT EXTRACT(EPOCH FROM CLOCK_TIMESTAMP())",
}


class _Table:
    """``str(table)`` is the quoted name; ``table["head floor"]`` is the columns of these fields."""

    def __init__(self, connection: BaseDatabaseWrapper, model: type[Model]) -> None:
        quote = connection.ops.quote_name
        self._name = quote(model._meta.db_table)
        self._columns = {f.name: quote(f.column or "") for f in model._meta.concrete_fields}
        # Every publish asks for the same few.
        self._written: dict[str, str] = {}

    def __str__(self) -> str:
        return self._name

    def __getitem__(self, fields: str) -> str:
        written = self._written.get(fields)
        if written is None:
            written = ", ".join(self._columns[each] for each in fields.split())
            self._written[fields] = written
        return written

    def insert(self, fields: str) -> str:
        places = ", ".join(["%s"] * len(fields.split()))
        return f"INSERT INTO {self} ({self[fields]}) VALUES ({places})"


def _in(count: int) -> str:
    return f"IN ({', '.join(['%s'] * count) or 'NULL'})"


def _union(select: str, count: int) -> str:
    return " UNION ALL ".join([select] * count)


def _compiled(
    connection: BaseDatabaseWrapper, function: Func, model: type[Model] = StoredEvent
) -> str:
    """Return the backend's SQL for a function of the columns of ``model``, or of none."""
    query = model._base_manager.using(connection.alias).query
    compiler = query.get_compiler(connection=connection)
    sql, _ = compiler.compile(function.resolve_expression(query))
    return str(sql)


class Statements:
    """The statements for one database. A statement that takes ``count`` keys is a method."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._channel = _Table(connection, Channel)
        self._event = _Table(connection, StoredEvent)
        self._outbox = _Table(connection, OutboxEvent)
        self._key = _Table(connection, EventKey)
        # A key of the distant future was stored while the clock was wrong.
        oldest, newest = DatabaseNow(ago=KEY_AGE), DatabaseNow(ago=-KEY_AGE)
        self._key_times = f"{_compiled(connection, oldest)} AND {_compiled(connection, newest)}"
        self.append = self._append() if connection.vendor == "postgresql" else None
        """Inserts events and moves heads; parameters: two JSON texts (see ``_append``). None except
        on PostgreSQL."""
        self._columns = self._lock_columns(_compiled(connection, DatabaseNow()))
        self.skips_locked = connection.features.has_select_for_update_skip_locked
        """Whether ``lock_free`` skips locked rows: not on SQLite, which locks the whole file."""
        self._write_locks(connection)
        self._removes_by_join = connection.vendor == "mysql"
        self._write_reads(_compiled(connection, Length("data")))
        self._write_outbox_reads(_compiled(connection, Length("data"), OutboxEvent))
        self.clock = _CLOCKS[connection.vendor]
        """Selects the seconds since 1970."""
        self.insert_event = self._event.insert("channel seq kind type created nonce data")
        """Inserts a row; parameters: its values in the order of these fields."""
        self.insert_deferred = self._outbox.insert("name name_hash kind state type data key_hash")
        """Inserts a row; parameters: its values in the order of these fields."""
        self.store_key = self._store_key(mysql=connection.vendor == "mysql")
        """Inserts a key, or changes the row of an old one; parameters: hash, channel, seq, tag,
        time of creation."""

    def _write_reads(self, size: str) -> None:
        event = self._event
        of_channel = f"FROM {event} WHERE {event['channel']} = %s AND {event['seq']}"
        up_to = f"AND {event['seq']} <= %s"
        page = f"ORDER BY {event['seq']} LIMIT %s"
        data = f"CASE WHEN {event['seq']} > %s THEN {event['data']} ELSE '' END"
        columns = f"{event['seq type']}, {data}, {event['kind nonce']}"
        self.events = f"SELECT {columns} {of_channel} >= %s {page}"
        """Selects events and, without its data, the event before them; parameters: the seq of that
        event, the channel's key, that seq again, the limit."""
        self.events_up_to = f"SELECT {columns} {of_channel} >= %s {up_to} {page}"
        """As ``events``, with the highest seq as a parameter before the limit."""
        self.sizes = f"SELECT {size} {of_channel} > %s {page}"
        """Selects the number of characters in each event's data; parameters: the channel's key, the
        seq before the first, the limit."""
        self.sizes_up_to = f"SELECT {size} {of_channel} > %s {up_to} {page}"
        """As ``sizes``, with the highest seq as a parameter before the limit."""
        self.nonce = f"SELECT {event['nonce']} {of_channel} = %s"
        """Selects the nonce of one event; parameters: the channel's key, the seq."""

    def _write_outbox_reads(self, size: str) -> None:
        o = self._outbox
        waiting = f"FROM {o} WHERE {o['name_hash']} = %s"
        self.outbox_sizes = f"SELECT {o['id']}, {size} {waiting} ORDER BY {o['id']} LIMIT %s"
        """Selects the ids of outbox events and the number of characters in their data; parameters:
        the channel's hash, the limit."""
        up_to = f"AND {o['id']} <= %s ORDER BY {o['id']}"
        self.outbox_events = f"SELECT {o['id type data kind state key_hash']} {waiting} {up_to}"
        """Selects outbox events; parameters: the channel's hash, the highest id."""

    def _append(self) -> str:
        """Build a statement whose two parameters are JSON.

        ``moved`` is a list of channels: key, number of new events, state, the events' time of
        creation, nonce and tag. ``added`` is a list of events: key, seq, kind, type, data.

        PostgreSQL inserts 500 rows in one statement four times as fast as in 500 statements, and
        each response that Python waits for is one more wait for the interpreter's lock.
        """
        c, e = self._channel, self._event
        return (
            "WITH moved AS (SELECT * FROM json_to_recordset(%s) "
            "AS m(key bigint, more int, state text, created timestamptz, nonce bigint, tag text)), "
            f"heads AS (UPDATE {c} SET {c['head']} = {c}.{c['head']} + moved.more, "
            f"{c['state']} = moved.state, {c['head_tag']} = moved.tag "
            f"FROM moved WHERE {c}.{c['id']} = moved.key) "
            f"INSERT INTO {e} ({e['channel seq kind type created nonce data']}) "
            "SELECT moved.key, seq, kind, type, moved.created, moved.nonce, data "
            "FROM json_to_recordset(%s) "
            "AS added(key bigint, seq bigint, kind smallint, type text, data text) "
            "JOIN moved ON moved.key = added.key ORDER BY moved.key, seq"
        )

    def _lock_columns(self, now: str) -> str:
        c, e, o = self._channel, self._event, self._outbox
        newest = f"FROM {e} e WHERE e.{e['channel']} = c.{c['id']} AND e.{e['seq']} = c.{c['head']}"
        text = "::text" if self.append is not None else ""
        later = f"CASE WHEN e.{e['created']} > {now} THEN e.{e['created']} ELSE {now} END"
        return (
            f"{c['id name name_hash epoch head head_tag state']}, "
            f"EXISTS (SELECT 1 FROM {o} o WHERE o.{o['name_hash']} = c.{c['name_hash']}), "
            f"(CASE WHEN {c['head']} = {c['floor']} THEN {now} ELSE (SELECT {later} {newest}) END)"
            f"{text}, {now}{text}"
        )

    def _write_locks(self, connection: BaseDatabaseWrapper) -> None:
        self._for_update = self._skip_locked = self._by_hash = ""
        self.has_own_wait = False
        is_mysql = connection.vendor == "mysql"
        is_mariadb = is_mysql and bool(getattr(connection, "mysql_is_mariadb", False))
        has_rows_to_lock = connection.features.has_select_for_update
        self.waits_at_once = has_rows_to_lock and (is_mariadb or not is_mysql)
        """Whether the first statement of a transaction may wait for a row: not on SQLite, which has
        no rows to lock, nor on MySQL, where the session has to be set before (``locking``)."""
        if has_rows_to_lock:
            no_key = connection.features.has_select_for_no_key_update
            self._for_update = connection.ops.for_update_sql(no_key=no_key)
        if self.skips_locked:
            self._skip_locked = connection.ops.for_update_sql(no_key=no_key, skip_locked=True)
            self.has_own_wait = is_mariadb
            if self.has_own_wait:
                self._for_update += f" WAIT {LOCK_STEP}"
        if is_mysql:
            # In a small table InnoDB reads all rows and locks each for a moment, so that other
            # writers would skip it. The unique index of a column has the column's name.
            self._by_hash = f"FORCE INDEX ({self._channel['name_hash']}) "

    def lock(self, count: int) -> str:
        """Select the channels with these hashes and lock them in the order of their keys.

        Returns key, name, hash, epoch, head, its tag, state, whether the outbox has events for the
        channel, the time of creation for new events, and the clock. On PostgreSQL both times are
        text: converting them to datetimes took a third of the writer's time.

        The time of creation is the clock, but never before the newest event's, even if the clock
        was set back. If it is NULL, the row was locked after the statement began, and the statement
        cannot see the newest event.
        """
        return f"{self._lock(count)} {self._for_update}"

    def lock_free(self, count: int) -> str:
        """As ``lock``, but without waiting: rows that are locked are skipped."""
        return f"{self._lock(count)} {self._skip_locked}"

    def _lock(self, count: int) -> str:
        c = self._channel
        rows = f"FROM {c} c {self._by_hash}WHERE {c['name_hash']} {_in(count)}"
        return f"SELECT {self._columns} {rows} ORDER BY {c['id']}"

    def touch(self, count: int) -> str:
        """Write to the channels with these hashes without changing them."""
        c = self._channel
        same = f"{c['redactions']} = {c['redactions']}"
        return f"UPDATE {c} SET {same} WHERE {c['name_hash']} {_in(count)}"

    def existing(self, count: int) -> str:
        """Select those of these hashes that belong to channels."""
        c = self._channel
        return f"SELECT {c['name_hash']} FROM {c} WHERE {c['name_hash']} {_in(count)}"

    def move_heads(self, count: int) -> str:
        """Move heads; parameters: the number of new events, state, tag, the channels' keys."""
        c = self._channel
        to = f"{c['head']} = {c['head']} + %s, {c['state']} = %s, {c['head_tag']} = %s"
        return f"UPDATE {c} SET {to} WHERE {c['id']} {_in(count)}"

    def heads(self, count: int) -> str:
        """Select the fields of a ``Head``, in their order, of the channels with these hashes."""
        c = self._channel
        fields = c["name id epoch head head_tag floor floor_tag state redactions"]
        return f"SELECT {fields} FROM {c} WHERE {c['name_hash']} {_in(count)}"

    def waiting(self, count: int) -> str:
        """Select, of these hashes, the ones that have events in the outbox."""
        o = self._outbox
        name = o["name_hash"]
        return f"SELECT DISTINCT {name} FROM {o} WHERE {name} {_in(count)}"

    def remove_from_outbox(self, count: int) -> str:
        """Delete the outbox rows with these ids."""
        return self._remove(self._outbox, count)

    def remove_channels(self, count: int) -> str:
        """Delete the rows of the channels with these keys."""
        return self._remove(self._channel, count)

    def _remove(self, table: _Table, count: int) -> str:
        """Build a statement that deletes the rows with these ids.

        For a few keys in a list InnoDB reads all of a small table, and a DELETE waits for each row
        that it reads, also for rows of transactions that are still open. Joined to the keys, it
        reads only the rows with these keys.
        """
        if not self._removes_by_join:
            return f"DELETE FROM {table} WHERE {table['id']} {_in(count)}"
        by_key = f"{table} t FORCE INDEX (PRIMARY) ON t.{table['id']} = ids.id"
        ids = _union("SELECT %s AS id", count)
        return f"DELETE t FROM ({ids}) ids STRAIGHT_JOIN {by_key}"

    def remove_events(self, count: int) -> str:
        """Delete the events of channels up to their floors; parameters: key and floor of each."""
        e = self._event
        if not self._removes_by_join:
            each = f"({e['channel']} = %s AND {e['seq']} <= %s)"
            return f"DELETE FROM {e} WHERE {' OR '.join([each] * count)}"
        floors = _union("SELECT %s AS id, %s AS floor", count)
        by_key = f"t.{e['channel']} = floors.id AND t.{e['seq']} <= floors.floor"
        index = "FORCE INDEX (django_sse_event_seq)"
        return f"DELETE t FROM ({floors}) floors STRAIGHT_JOIN {e} t {index} ON {by_key}"

    def _store_key(self, *, mysql: bool) -> str:
        k = self._key
        fields = [k[each] for each in ("channel", "seq", "tag", "created")]
        new = "VALUES({})" if mysql else "EXCLUDED.{}"
        changes = ", ".join(f"{each} = {new.format(each)}" for each in fields)
        there = "ON DUPLICATE KEY UPDATE"
        if not mysql:
            there = f"ON CONFLICT ({k['key_hash']}) DO UPDATE SET"
        return f"{k.insert('key_hash channel seq tag created')} {there} {changes}"

    def keys_of_events(self, count: int) -> str:
        """Select hash, channel, seq and tag of the keys with these hashes that are not old."""
        k = self._key
        where = f"{k['key_hash']} {_in(count)} AND {k['created']} BETWEEN {self._key_times}"
        return f"SELECT {k['key_hash channel seq tag']} FROM {k} WHERE {where}"

    def deferred_keys(self, names: int, count: int) -> str:
        """Select those of these keys' hashes that are in the outbox; the channels' hashes come
        first in the parameters."""
        o = self._outbox
        where = f"{o['name_hash']} {_in(names)} AND {o['key_hash']} {_in(count)}"
        return f"SELECT {o['key_hash']} FROM {o} WHERE {where}"

    def ends(self, count: int) -> str:
        """Select name and state of channels that have ended, or have an end in the outbox.

        Parameters: the hashes, the open state, the hashes again, the kind of a terminal event.
        """
        c, o = self._channel, self._outbox
        channels = f"WHERE {c['name_hash']} {_in(count)} AND {c['state']} <> %s"
        events = f"WHERE {o['name_hash']} {_in(count)} AND {o['kind']} = %s"
        return (
            f"SELECT {c['name state']} FROM {c} {channels} UNION ALL "
            f"SELECT {o['name state']} FROM {o} {events}"
        )
