"""Taking old events out of the log, without a reader mistaking the hole for the end.

The new floor is committed first, then the rows go in bounded batches: a reader that finds its next
event gone finds the floor that says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_sse.log import transactions
from django_sse.models import Channel, StoredEvent

if TYPE_CHECKING:
    from datetime import datetime

    from django_sse.log.base import Head

BATCH = 1000


def seq_before(alias: str, head: Head, moment: datetime) -> int:
    """The highest seq older than ``moment``: a binary search, since ``created`` never decreases
    within a channel and has no index."""
    events = StoredEvent.objects.using(alias).filter(channel_id=head.key)
    low, high = head.floor, head.head
    while low < high:
        middle = (low + high + 1) // 2
        created = events.filter(seq=middle).values_list("created", flat=True).first()
        # A row that is gone was trimmed meanwhile, so it is older than all that are left.
        if created is None or created < moment:
            low = middle
        else:
            high = middle - 1
    return low


def trim(alias: str, head: Head, floor: int) -> int:
    """Remove the events of one channel up to ``floor``; how many went."""
    channel = Channel.objects.using(alias).filter(pk=head.key, floor__lt=floor)
    transactions.run(alias, lambda: channel.update(floor=floor))
    return _delete(alias, head.key, floor)


def _delete(alias: str, key: int, floor: int) -> int:
    events = StoredEvent.objects.using(alias).filter(channel_id=key)
    lowest = events.filter(seq__lte=floor).order_by("seq").values_list("seq", flat=True)
    removed = 0
    while (first := transactions.run(alias, lowest.first)) is not None:
        last = min(floor, first + BATCH - 1)
        removed += transactions.run(alias, events.filter(seq__lte=last).delete)[0]
    return removed
