"""The log in the project's database, through the ORM: the default."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Length, Now

from django_sse import conf
from django_sse.exceptions import ChannelFinished
from django_sse.log import sequencer, transactions, trimming
from django_sse.log.base import (
    Appended,
    Entry,
    EventLog,
    Head,
    Kind,
    Record,
    check_limits,
    fitting,
)
from django_sse.log.sequencer import BATCH, channel_hash
from django_sse.models import Channel, OutboxEvent, StoredEvent
from django_sse.wire.cursor import make_epoch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime, timedelta


# Events of any size that a page may have unmeasured: what a wake-up usually brings.
_FEW = 8


def _head(row: Channel) -> Head:
    return Head(
        row.name,
        row.pk,
        row.epoch,
        row.head,
        row.floor,
        row.state,
        row.redactions,
        row.epoch_created,
    )


class ModelLog(EventLog):
    """``Channel``, ``StoredEvent`` and ``OutboxEvent`` in ``DJANGO_SSE["DATABASE"]``.

    All reads go to the database for writes: a replica that lags looks like a log that was rewound.
    """

    @property
    def alias(self) -> str:
        return conf.current().DATABASE

    def in_transaction(self) -> bool:
        return transactions.shares_fate(self.alias)

    def defer(self, entries: Sequence[Entry], announce: Callable[[list[Appended]], None]) -> None:
        alias = self.alias
        names = list(dict.fromkeys(entry.channel for entry in entries))
        self._refuse_finished(alias, names)
        OutboxEvent.objects.using(alias).bulk_create(
            [
                OutboxEvent(
                    name=entry.channel,
                    name_hash=channel_hash(entry.channel),
                    kind=entry.kind,
                    state=entry.state,
                    type=entry.type,
                    data=entry.data,
                )
                for entry in entries
            ],
            batch_size=BATCH,
        )

        # Not a partial: Django tells of a robust hook that failed by its __qualname__.
        def drain() -> None:
            if appended := self.sequence(names):
                announce(appended)

        # On every call: a savepoint that rolls back takes its hooks along, so "once a
        # transaction" would lose it. The first hook drains, the rest find nothing. Robust: the
        # caller's transaction is committed, so an error of ours is not its.
        transaction.on_commit(drain, using=alias, robust=True)

    def _refuse_finished(self, alias: str, names: Sequence[str]) -> None:
        hashes = [channel_hash(name) for name in names]
        ended = Channel.objects.using(alias).filter(name_hash__in=hashes).exclude(state="").first()
        if ended is not None:
            raise ChannelFinished.of(ended.name, ended.state)

    def append(self, entries: Sequence[Entry]) -> list[Appended]:
        return sequencer.append(self.alias, entries)

    def finish(self, entry: Entry) -> list[Appended]:
        try:
            return sequencer.append(self.alias, [entry])
        except ChannelFinished:
            return []

    def sequence(self, channels: Iterable[str]) -> list[Appended]:
        alias = self.alias
        return sequencer.drain(alias, channels) if transactions.commits_its_own(alias) else []

    def orphans(self, limit: int = 100) -> list[str]:
        waiting = OutboxEvent.objects.using(self.alias).order_by()
        names = waiting.values_list("name", flat=True).distinct()[:limit]
        return transactions.run(self.alias, lambda: list(names.all()))

    def open(self, channels: Sequence[str]) -> list[Head]:
        found = self.heads(channels)
        if missing := [name for name in channels if name not in found]:
            found |= transactions.outside(self.alias, partial(self._make, missing))
        return [found[name] for name in channels]

    def _make(self, channels: Sequence[str]) -> dict[str, Head]:
        transactions.run(self.alias, lambda: sequencer.make_channels(self.alias, channels))
        return self.heads(channels)

    def heads(self, channels: Iterable[str]) -> dict[str, Head]:
        hashes = [channel_hash(name) for name in channels]
        found: dict[str, Head] = {}
        for start in range(0, len(hashes), BATCH):
            some = hashes[start : start + BATCH]
            rows = Channel.objects.using(self.alias).filter(name_hash__in=some)
            for row in transactions.run(self.alias, partial(list[Channel], rows)):
                found[row.name] = _head(row)
        return found

    def read(self, key: int, after: int, limit: int) -> list[Record]:
        stored = StoredEvent.objects.using(self.alias)
        events = stored.filter(channel_id=key, seq__gt=after).order_by("seq")
        if limit > _FEW:
            sizes = events.values_list(Length("data"), flat=True)[:limit]
            limit = fitting(transactions.run(self.alias, lambda: list(sizes.all())))
        rows = events.values_list("seq", "type", "data", "kind")[:limit]
        return transactions.run(self.alias, lambda: [Record(*row) for row in rows.all()])

    def seq_before(self, head: Head, moment: datetime) -> int:
        return transactions.run(self.alias, lambda: trimming.seq_before(self.alias, head, moment))

    def trim(self, channel: str, *, age: timedelta | None = None, count: int | None = None) -> int:
        check_limits(age, count)
        head = self.heads([channel]).get(channel)
        return trimming.trim(self.alias, head, age=age, count=count) if head else 0

    def channels(self) -> Iterator[str]:
        # In pages: on SQLite a cursor that is still open keeps its snapshot, and whoever writes
        # between two names is then refused as soon as another connection has written.
        rows = Channel.objects.using(self.alias).order_by("pk").values_list("pk", "name")
        after = 0
        while page := self._page(rows.filter(pk__gt=after)[:BATCH]):
            after = page[-1][0]
            yield from (name for _, name in page)

    def _page(self, rows: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
        return transactions.run(self.alias, lambda: list(rows))

    def redact(self, channel: str, seq: int) -> bool:
        rows = Channel.objects.using(self.alias).filter(name_hash=channel_hash(channel))

        def empty() -> bool:
            with transaction.atomic(using=self.alias):
                events = StoredEvent.objects.using(self.alias).filter(
                    channel__in=rows.values("pk"), seq=seq, kind=Kind.EVENT
                )
                if not events.update(kind=Kind.REDACTED, type="", data=""):
                    return False
                rows.update(redactions=F("redactions") + 1)
                return True

        return transactions.run(self.alias, empty)

    def rotate(self, channel: str, epoch: str) -> bool:
        row = Channel.objects.using(self.alias).filter(name_hash=channel_hash(channel), epoch=epoch)
        return transactions.run(
            self.alias, lambda: bool(row.update(epoch=make_epoch(), epoch_created=Now()))
        )
