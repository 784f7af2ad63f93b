"""Removing old events from the log, so that no reader takes the hole for the end.

The new floor is committed first. Then the rows are deleted in bounded batches. A reader whose next
event is gone therefore always finds the floor that explains it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce

from django_sse.log import locking, reads, transactions
from django_sse.log.orm import DatabaseNow
from django_sse.models import Channel, StoredEvent

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models.expressions import Combinable

    from django_sse.log.base import Head

BATCH = 1000


def seq_before(alias: str, head: Head, moment: datetime) -> int:
    """Return the highest seq older than ``moment``.

    It is a binary search: ``created`` has no index, but never decreases within a channel.
    """
    events = StoredEvent.objects.using(alias).filter(channel_id=head.key)
    low, high = head.floor, head.head
    while low < high:
        middle = (low + high + 1) // 2
        created = events.filter(seq=middle).values_list("created", flat=True).first()
        # A missing row was trimmed meanwhile, so it is older than all rows that are left.
        if created is None or created < moment:
            low = middle
        else:
            high = middle - 1
    return low


def created(seq: Any) -> Coalesce:
    """Return, for an update of channels, when their event ``seq`` was created.

    That is now if the event is missing, because the channel's row must not be removed too early.
    """
    events = StoredEvent.objects.filter(channel=OuterRef("pk"), seq=seq).values("created")
    return Coalesce(Subquery(events[:1]), DatabaseNow())


def trim(alias: str, head: Head, floor: int, **also: Combinable) -> int:
    """Remove the events of one channel up to ``floor``; return how many were removed.

    ``also`` are more fields of the channel to change with the floor.
    """
    tag = head.tag(floor) or reads.tag(alias, head.key, floor)
    channel = Channel.objects.using(alias).filter(pk=head.key)
    # Without a tag another process has trimmed further meanwhile, and its floor explains the hole.
    if tag is not None:
        # Not above the head: the log may have been rewound since the head was read.
        lower = channel.filter(floor__lt=floor, head__gte=floor)

        def raise_floor() -> None:
            with locking.held(alias, head.channel):
                lower.update(floor_created=created(floor), floor_tag=tag, floor=floor, **also)

        locking.patiently(alias, head.channel, raise_floor)
    committed = transactions.run(alias, channel.values_list("floor", flat=True).first) or 0
    return _delete(alias, head.key, min(floor, committed))


def _delete(alias: str, key: int, floor: int) -> int:
    events = StoredEvent.objects.using(alias).filter(channel_id=key)
    lowest = events.filter(seq__lte=floor).order_by("seq").values_list("seq", flat=True)
    removed = 0
    while (first := transactions.run(alias, lowest.first)) is not None:
        last = min(floor, first + BATCH - 1)
        removed += transactions.run(alias, events.filter(seq__lte=last).delete)[0]
    return removed
