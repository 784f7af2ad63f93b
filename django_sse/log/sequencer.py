"""The one append routine: everything that gets a sequence number gets it here.

A short transaction of its own: lock the channel's row, move what was committed to the outbox,
append, move the head. The row is locked *before* anything is read, so that whoever holds it sees
all that was sequenced before; several channels are locked in primary-key order, so that no two
publishers wait for each other.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections

from django_sse.exceptions import ChannelFinished
from django_sse.log import transactions
from django_sse.log.base import TERMINAL, Appended, Entry, Record, new_record, report_dropped
from django_sse.log.orm import BATCH, DatabaseNow, insert
from django_sse.log.statements import statements
from django_sse.models import Channel
from django_sse.wire.cursor import make_epoch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

T = TypeVar("T")


def channel_hash(name: str) -> str:
    """The unique key of a channel: names are compared to the letter on every database."""
    return hashlib.sha256(name.encode()).hexdigest()


def make_channels(alias: str, names: Iterable[str]) -> None:
    """The rows of ``names``, where they are not there yet. Never inside the append's own
    transaction: an insert that waits for another's would hold the locks meanwhile. And sorted: two
    that insert the same names in opposite order would wait for each other."""
    now = DatabaseNow()
    rows = [
        Channel(
            name=name,
            name_hash=channel_hash(name),
            epoch=make_epoch(),
            epoch_created=now,
            created=now,
        )
        for name in sorted(names)
    ]
    Channel.objects.using(alias).bulk_create(rows, ignore_conflicts=True)


def append(alias: str, entries: Sequence[Entry]) -> list[Appended]:
    """Sequence ``entries``, behind what waited in the outbox for their channels, and commit.

    Raises ``ChannelFinished`` (then nothing is written) and ``LogUnavailable``.
    """

    def take(locked: Mapping[str, Locked]) -> None:
        for entry in entries:
            locked[entry.channel].append(entry)

    return sequence(alias, dict.fromkeys(entry.channel for entry in entries), take)[0]


def drain(alias: str, names: Iterable[str]) -> list[Appended]:
    """Sequence what waits in the outbox for ``names``."""
    hashes = {channel_hash(name): name for name in names}

    def waiting() -> list[str]:
        with connections[alias].cursor() as cursor:
            cursor.execute(statements(cursor.db).waiting(len(hashes)), list(hashes))
            return [hashes[found] for (found,) in cursor.fetchall()]

    found = transactions.run(alias, waiting)
    return sequence(alias, found, lambda locked: None)[0] if found else []


def sequence(
    alias: str,
    names: Iterable[str],
    take: Callable[[Mapping[str, Locked]], T],
    before_commit: Callable[[], object] = lambda: None,
) -> tuple[list[Appended], T]:
    """Lock the channels ``names``, sequence what waited for them, then what ``take`` appends to
    them, and commit; what was appended, and what ``take`` returned.

    ``take`` may be called several times, each time with channels as if it were the first. What it
    raises undoes everything. An error after ``before_commit`` may mean that all is committed.
    """
    names = list(names)

    def attempt() -> tuple[list[Locked], T] | None:
        with transactions.read_committed(alias), connections[alias].cursor() as cursor:
            locked = _lock(cursor, names)
            if len(locked) < len(names):
                return None
            for channel in locked.values():
                if channel.pending:
                    _move_outbox(cursor, channel)
            taken = take(locked)
            _write(cursor, [each for each in locked.values() if each.records])
            before_commit()
            return list(locked.values()), taken

    done = transactions.run(alias, attempt)
    while done is None:
        transactions.run(alias, lambda: make_channels(alias, names))
        done = transactions.run(alias, attempt)
    channels, taken = done
    for channel in channels:
        if channel.dropped:
            report_dropped(channel.name, channel.dropped)
    return [channel.appended() for channel in channels if channel.records], taken


@dataclass(slots=True)
class Locked:
    """A channel whose row this transaction holds, and what it will write."""

    key: int
    name: str
    name_hash: str
    epoch: str
    head: int
    state: str
    pending: bool
    created: Any
    """When its new events are created, in the database's own form; see ``Statements.lock``."""
    clock: Any
    records: list[Record] = field(default_factory=list)
    dropped: int = 0

    def append(self, entry: Entry) -> str:
        """Number ``entry``; its id."""
        (id,) = self.extend([entry])
        return id

    def extend(self, entries: Sequence[Entry]) -> list[str]:
        """Number ``entries``, of which only the last may be terminal; their ids."""
        if self.state:
            raise ChannelFinished.of(self.name, self.state)
        first = self.head + 1
        self.records += [
            new_record((seq, each.type, each.data, each.kind))
            for seq, each in enumerate(entries, first)
        ]
        self.head += len(entries)
        if entries[-1].kind == TERMINAL:
            self.state = entries[-1].state
        return [f"{self.epoch}-{seq}" for seq in range(first, self.head + 1)]

    def move(self, type: str, data: str, kind: int, state: str) -> None:
        """Number an event of the outbox."""
        if self.state:
            self.dropped += 1
        else:
            self.append(Entry(self.name, type, data, kind, state))

    def appended(self) -> Appended:
        return Appended(self.name, self.epoch, self.records)


def _is_deferred(connection: BaseDatabaseWrapper) -> bool:
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode")
    return mode is None or mode.upper() == "DEFERRED"


def _lock(cursor: CursorWrapper, names: Sequence[str]) -> dict[str, Locked]:
    """Lock the rows of ``names``; those that do not exist are missing in the result."""
    connection = cursor.db
    written = statements(connection)
    field, values = "name_hash", [channel_hash(name) for name in names]
    if connection.vendor == "sqlite" and _is_deferred(connection):
        # In a deferred transaction SQLite refuses the step from reader to writer at once when
        # another has written meanwhile; as the first statement a write waits for its turn.
        cursor.execute(written.touch(len(values)), values)
    if connection.vendor == "mysql" and len(names) > 1:
        # InnoDB locks in the order in which it looks: through whichever index it chose, by hash
        # for few channels and by primary key for many. By their keys it is always the latter.
        cursor.execute(written.keys(len(values)), values)
        field, values = "id", [key for (key,) in cursor.fetchall()]
    sql = written.lock(field, len(values))
    locked = _fetch_locked(cursor, sql, values)
    if any(each.created is None for each in locked):
        # Another had the row meanwhile and left an event that a statement begun before it cannot
        # see. The rows are ours now, so this one sees all there is.
        locked = _fetch_locked(cursor, sql, values)
    return {each.name: each for each in locked}


def _fetch_locked(cursor: CursorWrapper, sql: str, values: Sequence[Any]) -> list[Locked]:
    cursor.execute(sql, values)
    return [Locked(*row) for row in cursor.fetchall()]


def _move_outbox(cursor: CursorWrapper, channel: Locked) -> None:
    """Number the channel's committed outbox rows by id and remove them.

    Only who holds the channel's row removes its outbox rows, so what is deleted is what was read.
    """
    written = statements(cursor.db)
    after = 0
    while True:
        cursor.execute(written.outbox_events, [channel.name_hash, after, BATCH])
        ids = []
        for pk, *event in cursor.fetchall():
            ids.append(pk)
            channel.move(*event)
        if not ids:
            return
        after = ids[-1]
        cursor.execute(written.remove_from_outbox(len(ids)), ids)
        if cursor.rowcount != len(ids):
            raise RuntimeError(
                f"The outbox of {channel.name!r} was changed by something else than django_sse."
            )


def _write(cursor: CursorWrapper, channels: Sequence[Locked]) -> None:
    if not channels:
        return
    written = statements(cursor.db)
    if written.append is not None:
        cursor.execute(written.append, _as_json(channels))
        return
    rows = [
        (each.key, r.seq, r.kind, r.type, each.created or each.clock, r.data)
        for each in channels
        for r in each.records
    ]
    insert(cursor, written.insert_event, rows)
    # One statement for all that moved alike: most of many have one event more.
    alike: dict[tuple[int, str], list[int]] = {}
    for each in channels:
        alike.setdefault((len(each.records), each.state), []).append(each.key)
    for moved, keys in alike.items():
        cursor.execute(written.move_heads(len(keys)), [*moved, *keys])


def _as_json(channels: Sequence[Locked]) -> list[str]:
    """The parameters of ``Statements.append``."""
    moved = [
        {
            "key": each.key,
            "more": len(each.records),
            "state": each.state,
            "created": each.created or each.clock,
        }
        for each in channels
    ]
    added = [
        {"key": each.key, "seq": r.seq, "kind": r.kind, "type": r.type, "data": r.data}
        for each in channels
        for r in each.records
    ]
    return [json.dumps(moved), json.dumps(added, ensure_ascii=False)]
