"""The log in the project's database, through the ORM: the default."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from django.db import connections, transaction
from django.db.models import F, Min
from django.utils import timezone

from django_sse import conf, constants
from django_sse.log import batch, keys, locking, outbox, reads, sequencer, transactions, trimming
from django_sse.log.base import Appended, Entry, EventLog, Head, Kind, Outcome, Page
from django_sse.log.orm import BATCH, DatabaseNow, channel_hash
from django_sse.log.retention import Limits
from django_sse.log.rules import refuse_after_end
from django_sse.log.sweeping import Sweep
from django_sse.models import Channel, OutboxEvent, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from datetime import datetime, timedelta

    from django_sse.log.retention import Swept


@dataclass
class _Patience:
    """The seconds for which the hooks of a transaction may still wait for locked channels."""

    left: float


def _patience(alias: str) -> _Patience:
    """Return the patience that all hooks of this transaction share.

    Otherwise the hooks of a hundred publishes to one locked channel would wait a hundred times.
    """
    for _, hook, *_ in reversed(connections[alias].run_on_commit):
        if isinstance(found := getattr(hook, "patience", None), _Patience):
            return found
    return _Patience(constants.DRAIN_WAIT)


class ModelLog(EventLog):
    """``Channel``, ``StoredEvent`` and ``OutboxEvent`` in ``DJANGO_SSE["DATABASE"]``.

    All reads use the database for writes, because a lagging replica looks like a rewound log.
    """

    @property
    def alias(self) -> str:
        return conf.current().DATABASE

    def in_transaction(self) -> bool:
        return transactions.shares_fate(self.alias)

    def defer(self, entries: Sequence[Entry], announce: Callable[[list[Appended]], None]) -> None:
        alias = self.alias
        names = list(dict.fromkeys(entry.channel for entry in entries))
        if ended := transactions.run(alias, partial(outbox.ends, alias, names)):
            entries = transactions.run(alias, partial(keys.unseen, alias, entries))
        refuse_after_end(entries, ended)
        if not entries:
            return
        transactions.run(alias, partial(outbox.add, alias, entries))

        patience = _patience(alias)

        # Not a partial: if a robust hook fails, Django logs its __qualname__.
        def sequence_and_announce() -> None:
            started = time.monotonic()
            appended = self.sequence(names, wait=patience.left)
            patience.left = max(0.0, patience.left - (time.monotonic() - started))
            announce(appended)

        sequence_and_announce.patience = patience  # type: ignore[attr-defined]

        # Registered on every call, not once in a transaction: Django removes the hooks of a
        # savepoint that is rolled back. The first hook sequences all events, the others find
        # nothing. Robust: the caller's transaction is committed, so an error here must not reach
        # the caller.
        transaction.on_commit(sequence_and_announce, using=alias, robust=True)

    def append_each(
        self, groups: Sequence[Sequence[Entry]]
    ) -> tuple[list[Appended], list[Outcome]]:
        return batch.append_each(self.alias, groups)

    def append_free(
        self, groups: Sequence[Sequence[Entry]]
    ) -> tuple[list[Appended], list[Outcome]]:
        return batch.append_free(self.alias, groups)

    def append_queued(
        self, channel: str, join: Callable[[], Sequence[Sequence[Entry]]]
    ) -> tuple[list[Appended], list[Outcome]]:
        return batch.append_queued(self.alias, channel, join)

    def sequence(self, channels: Iterable[str], *, wait: float = 0.0) -> list[Appended]:
        alias = self.alias
        if not transactions.commits_its_own(alias):
            return []
        return sequencer.sequence_outbox(alias, channels, wait=wait)

    def orphans(self, limit: int = 100, *, after: str = "") -> list[str]:
        rows = OutboxEvent.objects.using(self.alias).order_by("name_hash")
        if after:
            rows = rows.filter(name_hash__gt=channel_hash(after))
        # Grouped by the hash: some databases treat two different names as equal, and a reader of
        # the second would wait for ever.
        waiting = rows.values("name_hash").annotate(one=Min("name"))
        names = waiting.values_list("one", flat=True)[:limit]
        return transactions.run(self.alias, lambda: list(names.all()))

    def open(self, channels: Sequence[str]) -> list[Head]:
        found = self.heads(channels)
        if missing := [name for name in channels if name not in found]:
            # Ask for the heads again after the minute. Otherwise events from before that minute,
            # which came and were removed with their row, would not make the position too old.
            minute = self.minute()
            empty = {name: Head.empty(name, minute) for name in missing}
            found |= empty | self.heads(missing)
        return [found[name] for name in channels]

    def make(self, channels: Sequence[str]) -> list[Head]:
        transactions.run(self.alias, lambda: locking.make_channels(self.alias, channels))
        found = self.heads(channels)
        return [found[name] for name in channels]

    def heads(self, channels: Iterable[str]) -> dict[str, Head]:
        return reads.heads(self.alias, channels)

    def read(self, key: int, after: int, limit: int) -> Page:
        return reads.page(self.alias, key, after, limit)

    def tag(self, key: int, seq: int) -> str | None:
        return reads.tag(self.alias, key, seq)

    def seq_before(self, head: Head, moment: datetime) -> int:
        return transactions.run(self.alias, lambda: trimming.seq_before(self.alias, head, moment))

    def now(self, head: Head) -> datetime:
        rows = Channel.objects.using(self.alias).filter(pk=head.key)
        # A deleted channel has no events, so any clock will do.
        found = transactions.run(self.alias, rows.values_list(DatabaseNow(), flat=True).first)
        return found or timezone.now()

    def minute(self) -> int:
        return reads.minute(self.alias)

    def trim(self, channel: str, *, age: timedelta | None = None, count: int | None = None) -> int:
        Limits(age, count)
        head = self.heads([channel]).get(channel)
        if head is None:
            return 0
        return trimming.trim(self.alias, head, self.trim_floor(head, age=age, count=count))

    def sweep(
        self,
        limits: Limits,
        names: Sequence[str] = (),
        *,
        spared: Callable[[], Collection[str]] = tuple,
        dry_run: bool = False,
    ) -> Swept:
        return Sweep(self, limits, spared, dry_run=dry_run).run(names)

    def empty(self, channel: str) -> int:
        head = self.heads([channel]).get(channel)
        if head is None:
            return 0
        return trimming.trim(self.alias, head, head.head, redactions=F("redactions") + 1)

    def remove_old_keys(self) -> int:
        return keys.remove_old(self.alias)

    def channels(self) -> Iterator[str]:
        # In pages: on SQLite an open cursor keeps its snapshot. A caller that writes between two
        # names would then get an error as soon as another connection has written.
        rows = Channel.objects.using(self.alias).order_by("pk").values_list("pk", "name")
        after = 0
        while page := self._page(rows.filter(pk__gt=after)[:BATCH]):
            after = page[-1][0]
            yield from (name for _, name in page)

    def _page(self, rows: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
        return transactions.run(self.alias, lambda: list(rows))

    def redact(self, channel: str, seq: int) -> bool:
        # Look up the key first: with a subquery MariaDB reads and locks the events of all channels.
        head = self.heads([channel]).get(channel)
        if head is None:
            return False
        events = StoredEvent.objects.using(self.alias).filter(
            channel_id=head.key, seq=seq, kind=Kind.EVENT
        )
        row = Channel.objects.using(self.alias).filter(pk=head.key)

        def empty() -> bool:
            # The channel first: a transaction that waits for it must not have locked the event.
            with locking.held(self.alias, channel):
                if not events.update(kind=Kind.REDACTED, type="", data=""):
                    return False
                row.update(redactions=F("redactions") + 1)
                return True

        return locking.patiently(self.alias, channel, empty)
