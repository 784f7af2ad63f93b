"""The one append routine: everything that gets a sequence number gets it here.

A short transaction of its own: lock the channel's row, move what was committed to the outbox,
append, move the head. The row is locked *before* anything is read, so that whoever holds it sees
all that was sequenced before; several channels are locked in primary-key order, so that no two
publishers wait for each other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import connections, transaction
from django.db.models import Exists, F, OuterRef, Subquery
from django.db.models.functions import Now

from django_sse.exceptions import ChannelFinished
from django_sse.log import transactions
from django_sse.log.base import Appended, Entry, Kind, Record, report_dropped
from django_sse.models import Channel, OutboxEvent, StoredEvent
from django_sse.wire.cursor import make_epoch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet

BATCH = 500


def channel_hash(name: str) -> str:
    """The unique key of a channel: names are compared to the letter on every database."""
    return hashlib.sha256(name.encode()).hexdigest()


def make_channels(alias: str, names: Iterable[str]) -> None:
    """The rows of ``names``, where they are not there yet. Never inside the append's own
    transaction: an insert that waits for another's would hold the locks meanwhile. And sorted: two
    that insert the same names in opposite order would wait for each other."""
    now = Now()
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
    names = dict.fromkeys(entry.channel for entry in entries)
    return _sequence(alias, names, entries)


def drain(alias: str, names: Iterable[str]) -> list[Appended]:
    """Sequence what waits in the outbox for ``names``."""
    hashes = {channel_hash(name): name for name in names}
    waiting = OutboxEvent.objects.using(alias).filter(name_hash__in=hashes)
    found = transactions.run(
        alias, lambda: list(waiting.order_by().values_list("name_hash", flat=True).distinct())
    )
    return _sequence(alias, [hashes[each] for each in found], ()) if found else []


def _sequence(alias: str, names: Iterable[str], entries: Sequence[Entry]) -> list[Appended]:
    names = list(names)

    def attempt() -> list[_Locked] | None:
        with transaction.atomic(using=alias):
            locked = _lock(alias, names)
            if len(locked) < len(names):
                return None
            for channel in locked.values():
                if channel.pending:
                    _move_outbox(alias, channel)
            for entry in entries:
                locked[entry.channel].append(entry)
            _write(alias, [each for each in locked.values() if each.records])
            return list(locked.values())

    done = transactions.run(alias, attempt)
    while done is None:
        transactions.run(alias, lambda: make_channels(alias, names))
        done = transactions.run(alias, attempt)
    for channel in done:
        if channel.dropped:
            report_dropped(channel.row.name, channel.dropped)
    return [channel.appended() for channel in done if channel.records]


@dataclass(slots=True)
class _Locked:
    """A channel whose row this transaction holds, and what it will write."""

    row: Channel
    pending: bool
    records: list[Record] = field(default_factory=list)
    dropped: int = 0

    def append(self, entry: Entry) -> None:
        if self.row.state:
            raise ChannelFinished.of(self.row.name, self.row.state)
        self._take(entry)

    def move(self, event: OutboxEvent) -> None:
        if self.row.state:
            self.dropped += 1
        else:
            self._take(event)

    def _take(self, event: Entry | OutboxEvent) -> None:
        self.row.head += 1
        if event.kind == Kind.TERMINAL:
            self.row.state = event.state
        self.records.append(Record(self.row.head, event.type, event.data, event.kind))

    def appended(self) -> Appended:
        return Appended(self.row.name, self.row.epoch, self.records)


def _is_deferred(connection: BaseDatabaseWrapper) -> bool:
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode")
    return mode is None or mode.upper() == "DEFERRED"


def _lock(alias: str, names: Sequence[str]) -> dict[str, _Locked]:
    """Lock the rows of ``names``; those that do not exist are missing in the result."""
    connection = connections[alias]
    rows = Channel.objects.using(alias).filter(name_hash__in=[channel_hash(n) for n in names])
    if connection.vendor == "sqlite" and _is_deferred(connection):
        # In a deferred transaction SQLite refuses the step from reader to writer at once when
        # another has written meanwhile; as the first statement a write waits for its turn.
        rows.update(redactions=F("redactions"))
    waiting = OutboxEvent.objects.filter(name_hash=OuterRef("name_hash"))
    locked = (
        rows.select_for_update(no_key=connection.features.has_select_for_no_key_update)
        .annotate(pending=Exists(waiting))
        .order_by("pk")
    )
    return {row.name: _Locked(row, row.pending) for row in locked}


def _move_outbox(alias: str, channel: _Locked) -> None:
    """Number the channel's committed outbox rows by id and remove them.

    Only who holds the channel's row removes its outbox rows, so what is deleted is what was read.
    """
    outbox = OutboxEvent.objects.using(alias).filter(name_hash=channel.row.name_hash)
    after = 0
    while rows := list(outbox.filter(pk__gt=after).order_by("pk")[:BATCH]):
        after = rows[-1].pk
        for row in rows:
            channel.move(row)
        moved, _ = outbox.filter(pk__in=[row.pk for row in rows]).delete()
        if moved != len(rows):
            raise RuntimeError(
                f"The outbox of {channel.row.name!r} was changed by something else than django_sse."
            )


def _created(channels: QuerySet[Channel]) -> dict[int, datetime]:
    """The database's clock, read after the lock, and never before the channel's newest event."""
    newest = StoredEvent.objects.filter(channel=OuterRef("pk"), seq=OuterRef("head"))
    rows = channels.values_list("pk", Now(), Subquery(newest.values("created")[:1]))
    return {pk: max(now, last) if last else now for pk, now, last in rows}


def _write(alias: str, channels: Sequence[_Locked]) -> None:
    if not channels:
        return
    rows = Channel.objects.using(alias)
    created = _created(rows.filter(pk__in=[each.row.pk for each in channels]))
    StoredEvent.objects.using(alias).bulk_create(
        [
            StoredEvent(
                channel_id=each.row.pk,
                seq=record.seq,
                kind=record.kind,
                type=record.type,
                data=record.data,
                created=created[each.row.pk],
            )
            for each in channels
            for record in each.records
        ],
        batch_size=BATCH,
    )
    for each in channels:
        rows.filter(pk=each.row.pk).update(head=each.row.head, state=each.row.state)
