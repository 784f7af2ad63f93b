"""Trimming many channels, and removing the rows of those that are no longer needed.

A site may have 100,000 channels, most of which have nothing to trim. So the database finds the
others, some thousand channels at a time, and those with few events are trimmed together.

A row is removed while it is locked. A publish that waits for it then finds no row and makes a new
one, with a new epoch.
"""

from __future__ import annotations

from functools import partial, reduce
from operator import or_
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.db import connections
from django.db.models import Case, Exists, F, Max, OuterRef, Q, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone

from django_sse.exceptions import ChannelLocked
from django_sse.internal_channels import is_internal
from django_sse.log import transactions
from django_sse.log.base import Head
from django_sse.log.locked import lock_unlocked
from django_sse.log.orm import DatabaseNow, batches, channel_hash
from django_sse.log.retention import Swept
from django_sse.log.statements import statements
from django_sse.models import Channel, OutboxEvent, StoredEvent
from django_sse.wire.cursor import MAX_SEQ, tag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from django.db.backends.utils import CursorWrapper
    from django.db.models import QuerySet

    from django_sse.log.model import ModelLog
    from django_sse.log.retention import Limits

    Channels = QuerySet[Channel]
    T = TypeVar("T")

# The number of channels that one query examines.
_EXAMINED = 2000
# The most channels that one transaction trims, and the most events that they have together.
_TRIMMED = 100
_EVENTS = 1000

_FIELDS = ("name", "pk", "epoch", "head", "head_tag", "floor", "floor_tag", "state", "redactions")
_HAS_EVENTS = Q(head__gt=F("floor"))


class _Due(NamedTuple):
    """A channel with events to remove; ``whole`` if these are all that it has."""

    head: Head
    whole: bool

    @property
    def stored(self) -> int:
        return self.head.head - self.head.floor


class Sweep:
    """One walk over the channels of ``log``; see ``EventLog.sweep``."""

    def __init__(
        self, log: ModelLog, limits: Limits, spared: Callable[[], Collection[str]], *, dry_run: bool
    ) -> None:
        self._log, self._alias, self._limits = log, log.alias, limits
        self._spared, self._dry_run = spared, dry_run
        self._rows = Channel.objects.using(log.alias)
        self._now = self._run(self._clock)
        self._swept = Swept()

    def run(self, names: Sequence[str]) -> Swept:
        """Sweep the channels ``names``, or all of them if it is empty."""
        for page in self._named(names) if names else self._pages():
            due = self._due(page)
            if self._dry_run:
                self._swept.events += self._would_go(due)
            else:
                self._trim(due)
            self._remove_rows(page)
        return self._swept

    def _run(self, work: Callable[[], T]) -> T:
        return transactions.run(self._alias, work)

    def _clock(self) -> datetime:
        now = self._rows.order_by("pk").values_list(DatabaseNow(), flat=True).first()
        # Without a channel there is nothing to sweep, so any clock will do.
        return now or timezone.now()

    # -- the walk

    def _pages(self) -> Iterator[Channels]:
        after: int | None = 0
        while after is not None:
            page = self._rows.filter(pk__gt=after)
            keys = page.order_by("pk").values_list("pk", flat=True)
            after = self._run(keys[_EXAMINED - 1 : _EXAMINED].first)
            yield page if after is None else page.filter(pk__lte=after)

    def _named(self, names: Sequence[str]) -> Iterator[Channels]:
        for some in batches(names):
            yield self._rows.filter(name_hash__in=[channel_hash(name) for name in some])

    # -- events

    def _due(self, page: Channels) -> list[_Due]:
        count, age = self._limits.count, self._limits.age
        # A trim that was interrupted has left events below its floor.
        due = Q(floor__gt=0) & Q(Exists(_events().filter(seq__lte=OuterRef("floor"))))
        if count is not None:
            due |= Q(stored__gt=min(count, MAX_SEQ))
        if age is not None:
            due |= _HAS_EVENTS & self._is_old(OuterRef("floor") + 1, age)
        whole = Case(When(self._all_goes(), then=Value(True)), default=Value(False))
        rows = page.alias(stored=F("head") - F("floor")).filter(due).order_by("pk")
        found = rows.values_list(*_FIELDS, whole)
        channels = [_Due(Head(*row[:-1]), row[-1]) for row in self._run(lambda: list(found))]
        if any(is_internal(each.head.channel) for each in channels):
            # After the query: a run has its row before its channel has one.
            spared = self._spared()
            return [each for each in channels if each.head.channel not in spared]
        return channels

    def _is_old(self, seq: Any, age: timedelta) -> Q:
        """Return whether the event ``seq`` is older than ``age``. One that is missing is."""
        return Q(~Exists(_events().filter(seq=seq, created__gte=self._now - age)))

    def _all_goes(self) -> Q:
        """Return whether the limits remove all events of a channel that has some."""
        if self._limits.count == 0:
            return _HAS_EVENTS
        if self._limits.age is None:
            return Q(pk__in=[])
        return _HAS_EVENTS & self._is_old(OuterRef("head"), self._limits.age)

    def _would_go(self, due: Sequence[_Due]) -> int:
        age, count = self._limits.age, self._limits.count
        floors = {
            head.key: self._log.trim_floor(head, age=age, count=count)
            for head, _ in (each for each in due if each.stored > _EVENTS)
        }
        for some in _groups(due):
            floors |= self._run(partial(self._floors, some))
        return sum(floors[head.key] - head.floor for head, _ in due)

    def _trim(self, due: Sequence[_Due]) -> None:
        trimmed: set[int] = set()
        for some in _groups(due):
            floors = self._run(partial(self._floors, some))
            raised = self._run(partial(_raise, self._alias, some, floors))
            if raised:
                self._swept.events += self._run(partial(_remove_events, self._alias, raised))
                trimmed.update(raised)
        for each in due:
            if each.head.key not in trimmed:
                self._trim_alone(each.head.channel)

    def _floors(self, due: Sequence[_Due]) -> dict[int, int]:
        """Return the new floors of channels, by their keys."""
        count, age = self._limits.count, self._limits.age
        floors = {head.key: head.floor for head, _ in due}
        if count is not None:
            floors = {head.key: max(head.floor, head.head - count) for head, _ in due}
        if age is not None:
            events = StoredEvent.objects.using(self._alias).filter(channel__in=floors)
            old = events.filter(created__lt=self._now - age).order_by().values_list("channel")
            newest = dict(old.annotate(Max("seq")))
            floors = {key: max(floor, newest.get(key, 0)) for key, floor in floors.items()}
        return floors | {head.key: head.head for head, whole in due if whole}

    def _trim_alone(self, channel: str) -> None:
        limits = self._limits
        try:
            self._swept.events += self._log.trim(channel, age=limits.age, count=limits.count)
        except ChannelLocked:
            self._swept.locked.append(channel)

    # -- rows

    def _remove_rows(self, page: Channels) -> None:
        if self._limits.row_age is None:
            return
        heads = self._unneeded(page, self._limits.row_age)
        if self._dry_run:
            self._swept.channels += len(heads)
            return
        for some in batches(heads):
            self._swept.channels += self._run(partial(_remove, self._alias, some))

    def _unneeded(self, page: Channels, row_age: timedelta) -> list[Head]:
        """Return the channels whose rows can go. Internal ones go with what they belong to."""
        unneeded = Q(head=F("floor"), newest__lt=self._now - row_age)
        if self._dry_run:
            unneeded |= self._all_goes() & self._is_old(OuterRef("head"), row_age)
        in_outbox = OutboxEvent.objects.filter(name_hash=OuterRef("name_hash"))
        rows = page.alias(newest=Coalesce("floor_created", "created")).filter(unneeded)
        found = rows.filter(~Exists(in_outbox)).order_by("pk").values_list(*_FIELDS)
        heads = [Head(*row) for row in self._run(lambda: list(found))]
        return [head for head in heads if not is_internal(head.channel)]


def _events() -> QuerySet[StoredEvent]:
    """Return the events of the channel of an outer query."""
    return StoredEvent.objects.filter(channel=OuterRef("pk"))


def _groups(due: Iterable[_Due]) -> Iterator[list[_Due]]:
    """Yield the channels with few events, as many as one transaction may trim."""
    group: list[_Due] = []
    events = 0
    for each in due:
        if each.stored > _EVENTS:
            continue
        if group and (len(group) == _TRIMMED or events + each.stored > _EVENTS):
            yield group
            group, events = [], 0
        group.append(each)
        events += each.stored
    if group:
        yield group


def _raise(alias: str, due: Sequence[_Due], floors: Mapping[int, int]) -> dict[int, int]:
    """Raise the floors of channels, and return the floors that they have then, by their keys.

    Leaves out channels that are locked, or were made anew, or have no event with the new floor.
    """
    rows, events = Channel.objects.using(alias), StoredEvent.objects.using(alias)
    with transactions.read_committed(alias), connections[alias].cursor() as cursor:
        locked = lock_unlocked(cursor, [head.channel for head, _ in due])
        names = {head.key: head.channel for head, _ in due}
        keys = {each.key for each in locked.values() if each.name == names.get(each.key)}
        # Another sweep may have raised them further, and removed the events.
        raised = dict(rows.filter(pk__in=keys).values_list("pk", "floor"))
        higher = [Q(channel=key, seq=floors[key]) for key in keys if floors[key] > raised[key]]
        found = events.filter(reduce(or_, higher)) if higher else events.none()
        changed = [
            Channel(pk=key, floor=seq, floor_tag=tag_of(nonce), floor_created=created)
            for key, seq, nonce, created in found.values_list("channel", "seq", "nonce", "created")
        ]
        rows.bulk_update(changed, ["floor", "floor_tag", "floor_created"])
        raised |= {each.pk: each.floor for each in changed}
    return {key: floor for key, floor in raised.items() if floor >= floors[key]}


def _lock_unchanged(cursor: CursorWrapper, heads: Sequence[Head]) -> list[Head]:
    """Lock the channels that are free; return those that still are as they were, with nothing in
    the outbox."""
    locked = lock_unlocked(cursor, [head.channel for head in heads])
    found = [(head, locked[head.channel]) for head in heads if head.channel in locked]
    return [
        head
        for head, now in found
        if head.position == (now.epoch, now.head, now.tag) and not now.pending
    ]


def _remove_events(alias: str, floors: dict[int, int]) -> int:
    with connections[alias].cursor() as cursor:
        sql = statements(cursor.db).remove_events(len(floors))
        cursor.execute(sql, [value for pair in floors.items() for value in pair])
        return int(cursor.rowcount)


def _remove(alias: str, heads: Sequence[Head]) -> int:
    """Remove the rows of empty channels; return how many.

    Leaves out channels that are locked, and those that were appended to.
    """
    with transactions.read_committed(alias), connections[alias].cursor() as cursor:
        keys = [head.key for head in _lock_unchanged(cursor, heads)]
        if keys:
            cursor.execute(statements(cursor.db).remove_channels(len(keys)), keys)
    return len(keys)
