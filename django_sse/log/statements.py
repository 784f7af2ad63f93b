"""The statements that run for each event, written by hand, once a process.

The ORM builds and compiles a statement each time it is run: of 2.4 ms of CPU time that a publish
took on SQLite, 2.2 were that. It is spent while the channel's row is locked, and no event loop of
the process can run meanwhile. All that does not run for each event is the ORM's.

The names are the models'; their quotes, the lock and the clock are the backend's. ``%`` is doubled,
so each has to be executed *with* its parameters, which its docstring tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models.functions import Length

from django_sse.log.orm import DatabaseNow
from django_sse.models import Channel, OutboxEvent, StoredEvent

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Func, Model

_written: dict[tuple[str, str], Statements] = {}


def statements(connection: BaseDatabaseWrapper) -> Statements:
    """Those for the kind of database, and the time zone, of ``connection``."""
    key = (connection.settings_dict["ENGINE"], connection.timezone_name)
    if key not in _written:
        _written[key] = Statements(connection)
    return _written[key]


class _Table:
    """``str()`` is the table's quoted name, ``table["head floor"]`` the columns of fields."""

    def __init__(self, connection: BaseDatabaseWrapper, model: type[Model]) -> None:
        quote = connection.ops.quote_name
        self._name = quote(model._meta.db_table)
        self._columns = {f.name: quote(f.column or "") for f in model._meta.concrete_fields}

    def __str__(self) -> str:
        return self._name

    def __getitem__(self, fields: str) -> str:
        return ", ".join(self._columns[each] for each in fields.split())

    def insert(self, fields: str) -> str:
        places = ", ".join(["%s"] * len(fields.split()))
        return f"INSERT INTO {self} ({self[fields]}) VALUES ({places})"


def _in(count: int) -> str:
    return f"IN ({', '.join(['%s'] * count) or 'NULL'})"


def _compiled(
    connection: BaseDatabaseWrapper, function: Func, model: type[Model] = StoredEvent
) -> str:
    """What the backend makes of a function of the columns of ``model``, or of none."""
    query = model._base_manager.using(connection.alias).query
    compiler = query.get_compiler(connection=connection)
    sql, _ = compiler.compile(function.resolve_expression(query))
    return str(sql)


class Statements:
    """Where a statement takes ``count`` keys, it is a method."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._channel = _Table(connection, Channel)
        self._event = _Table(connection, StoredEvent)
        self._outbox = _Table(connection, OutboxEvent)
        self.append = self._append() if connection.vendor == "postgresql" else None
        """Events and heads in one; two texts of JSON (see ``_append``). None: there is none."""
        self._columns = self._lock_columns(_compiled(connection, DatabaseNow()))
        self._for_update = self._skip_locked = ""
        if connection.features.has_select_for_update:
            no_key = connection.features.has_select_for_no_key_update
            self._for_update = connection.ops.for_update_sql(no_key=no_key)
            self._skip_locked = connection.ops.for_update_sql(no_key=no_key, skip_locked=True)
        self._removes_by_join = connection.vendor == "mysql"
        self._write_reads(_compiled(connection, Length("data")))
        self._write_outbox_reads(_compiled(connection, Length("data"), OutboxEvent))
        self.insert_event = self._event.insert("channel seq kind type created data")
        """A row, its values in the order of these fields."""
        self.insert_deferred = self._outbox.insert("name name_hash kind state type data")
        """The same."""

    def _write_reads(self, size: str) -> None:
        event = self._event
        behind = f"FROM {event} WHERE {event['channel']} = %s AND {event['seq']} > %s"
        up_to = f"AND {event['seq']} <= %s"
        page = f"ORDER BY {event['seq']} LIMIT %s"
        columns = event["seq type data kind"]
        self.events = f"SELECT {columns} {behind} {page}"
        """The events of the channel of this key, behind this seq, at most so many."""
        self.events_up_to = f"SELECT {columns} {behind} {up_to} {page}"
        """The same, with the highest seq before the count."""
        self.sizes = f"SELECT {size} {behind} {page}"
        """As ``events``: how many characters the data of each has."""
        self.sizes_up_to = f"SELECT {size} {behind} {up_to} {page}"
        """As ``events_up_to``."""

    def _write_outbox_reads(self, size: str) -> None:
        o = self._outbox
        waiting = f"FROM {o} WHERE {o['name_hash']} = %s"
        self.outbox_sizes = f"SELECT {o['id']}, {size} {waiting} ORDER BY {o['id']} LIMIT %s"
        """Of what waits for the channel of this hash, at most so many: the ids, and how many
        characters the data of each has."""
        up_to = f"AND {o['id']} <= %s ORDER BY {o['id']}"
        self.outbox_events = f"SELECT {o['id type data kind state']} {waiting} {up_to}"
        """What waits for the channel of this hash, up to this id."""

    def _append(self) -> str:
        """As JSON, ``moved`` of channels: key, how many events more, state, when those were
        created; and ``added`` events: key, seq, kind, type, data.

        PostgreSQL takes 500 rows in one statement four times as fast as in 500, and each answer
        that is waited for is one more wait for the interpreter's lock.
        """
        c, e = self._channel, self._event
        return (
            "WITH moved AS (SELECT * FROM json_to_recordset(%s) "
            "AS m(key bigint, more int, state text, created timestamptz)), "
            f"heads AS (UPDATE {c} SET {c['head']} = {c}.{c['head']} + moved.more, "
            f"{c['state']} = moved.state FROM moved WHERE {c}.{c['id']} = moved.key) "
            f"INSERT INTO {e} ({e['channel seq kind type created data']}) "
            "SELECT moved.key, seq, kind, type, moved.created, data FROM json_to_recordset(%s) "
            "AS added(key bigint, seq bigint, kind smallint, type text, data text) "
            "JOIN moved ON moved.key = added.key ORDER BY moved.key, seq"
        )

    def _lock_columns(self, now: str) -> str:
        c, e, o = self._channel, self._event, self._outbox
        newest = f"FROM {e} e WHERE e.{e['channel']} = c.{c['id']} AND e.{e['seq']} = c.{c['head']}"
        text = "::text" if self.append is not None else ""
        later = f"CASE WHEN e.{e['created']} > {now} THEN e.{e['created']} ELSE {now} END"
        return (
            f"{c['id name name_hash epoch head state']}, "
            f"EXISTS (SELECT 1 FROM {o} o WHERE o.{o['name_hash']} = c.{c['name_hash']}), "
            f"(CASE WHEN {c['head']} = {c['floor']} THEN {now} ELSE (SELECT {later} {newest}) END)"
            f"{text}, {now}{text}"
        )

    def lock(self, field: str, count: int, *, wait: bool = True) -> str:
        """The rows with one of these values of ``field``, locked in the order of their keys;
        without ``wait`` those that no other has locked.

        Returns key, name, hash, epoch, head, state, whether something waits in the outbox, when an
        event would be created, and the clock (on PostgreSQL both as text: to make datetimes of them
        took a third of the writer's time). An event is created now, but never before the one
        before it, though the clock be set back. Where that is NULL the row was given after the
        statement began and its newest event is one that the statement cannot see.
        """
        c = self._channel
        rows = f"FROM {c} c WHERE {c[field]} {_in(count)} ORDER BY {c['id']}"
        return f"SELECT {self._columns} {rows} {self._for_update if wait else self._skip_locked}"

    def touch(self, count: int) -> str:
        """Writes, and changes nothing of, the channels of these hashes."""
        c = self._channel
        same = f"{c['redactions']} = {c['redactions']}"
        return f"UPDATE {c} SET {same} WHERE {c['name_hash']} {_in(count)}"

    def keys(self, count: int) -> str:
        """The keys of the channels of these hashes."""
        c = self._channel
        return f"SELECT {c['id']} FROM {c} WHERE {c['name_hash']} {_in(count)}"

    def move_heads(self, count: int) -> str:
        """By how much, the state, and the keys of those that are moved."""
        c = self._channel
        to = f"{c['head']} = {c['head']} + %s, {c['state']} = %s"
        return f"UPDATE {c} SET {to} WHERE {c['id']} {_in(count)}"

    def heads(self, count: int) -> str:
        """Of the channels of these hashes the fields of a ``Head``, in their order."""
        c = self._channel
        fields = c["name id epoch head floor state redactions"]
        return f"SELECT {fields} FROM {c} WHERE {c['name_hash']} {_in(count)}"

    def waiting(self, count: int) -> str:
        """Which of these hashes have something in the outbox."""
        o = self._outbox
        name = o["name_hash"]
        return f"SELECT DISTINCT {name} FROM {o} WHERE {name} {_in(count)}"

    def remove_from_outbox(self, count: int) -> str:
        """The rows of these ids.

        InnoDB reads all of a small table for a few keys in a list, and a DELETE waits for each row
        that it reads: for those of every transaction that is still open. Joined to the keys it
        reads these alone.
        """
        o = self._outbox
        if not self._removes_by_join:
            return f"DELETE FROM {o} WHERE {o['id']} {_in(count)}"
        keys = " UNION ALL ".join(["SELECT %s AS id"] * count)
        by_key = f"{o} o FORCE INDEX (PRIMARY) ON o.{o['id']} = ids.id"
        return f"DELETE o FROM ({keys}) ids STRAIGHT_JOIN {by_key}"

    def ends(self, count: int) -> str:
        """Name and state of the channels of these hashes that have an end, or one in the outbox;
        the hashes, no state, the hashes, the kind of an end."""
        c, o = self._channel, self._outbox
        channels = f"WHERE {c['name_hash']} {_in(count)} AND {c['state']} <> %s"
        events = f"WHERE {o['name_hash']} {_in(count)} AND {o['kind']} = %s"
        return (
            f"SELECT {c['name state']} FROM {c} {channels} UNION ALL "
            f"SELECT {o['name state']} FROM {o} {events}"
        )
