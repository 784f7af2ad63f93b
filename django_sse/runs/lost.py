"""Ending the runs of processes that died."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from django_sse import conf
from django_sse.exceptions import ChannelLocked, LogUnavailable
from django_sse.process.observer import PAUSE, RENEWALS, Observer
from django_sse.runs import ends, leases, store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from django_sse.models import Run
    from django_sse.runs.leases import Seen

logger = logging.getLogger("django_sse")

# Times ``LEASE`` after which ``end_all_lost`` gives up, because the database was away repeatedly.
_PATIENCE = 5


# The channels of runs that were left, because they were locked. A lock of a vanished host can last
# for hours, so it is logged once and not at each look.
_left: set[str] = set()


def interval() -> float:
    """Return the seconds between two renewals, and between two looks at the leases."""
    runs = conf.current().RUNS
    return min(runs.LEASE, runs.UNWATCHED) / RENEWALS


def longest_pause() -> float:
    """Return the most seconds between two writes of an observer; after more, it starts again."""
    return PAUSE * interval()


def too_long(unchanged: Mapping[UUID, float], seen: Mapping[UUID, Seen]) -> list[UUID]:
    """Return the leases that were unchanged for longer than their process and this one allow."""
    ours = conf.current().RUNS.LEASE
    return [
        lease for lease, seconds in unchanged.items() if seconds > max(ours, seen[lease].seconds)
    ]


def end_lost(lease: UUID, value: int | None) -> int:
    """End the runs of ``lease``, which had ``value`` for too long; return how many there were.

    Only one process does this, and none does if the lease was renewed meanwhile. Raises
    ``LogUnavailable`` after ending all the runs that it can.
    """
    if not leases.claim(lease, value):
        return 0
    count, failure = 0, None
    for runs in store.some_under_way(lease):
        try:
            ended = _interrupt(runs)
        except LogUnavailable as error:
            failure = error
        else:
            count += ended
    if count:
        logger.warning("Ended runs whose process had died: %d.", count)
    if failure is not None:
        raise failure
    # Unless runs are left: then a process finds the lease again, which is over and does not change.
    leases.remove(lease)
    return count


def _interrupt(runs: Sequence[Run]) -> int:
    """Interrupt ``runs``; return how many, or 0 if the channel of one is locked.

    That is no failure of the database, so it must not delay the runs of other processes.
    """
    try:
        ends.interrupt(runs)
    except ChannelLocked as error:
        if error.channel not in _left:
            _left.add(error.channel)
            logger.warning("A run whose process died is left for the next time: %s", error)
        return 0
    _left.difference_update(run.channel for run in runs)
    return len(runs)


def end_stray(run_id: UUID) -> None:
    """End a run that its process does not run. Raises ``LogUnavailable``."""
    run = store.find(run_id)
    if run is not None and run.slot is not None:
        logger.warning("The run %s was left without an end: ended as interrupted.", run_id)
        _interrupt([run])


def end_all_lost() -> bool:
    """Watch all leases until each has changed, and end the runs of those that do not in time.

    Blocks for about ``LEASE`` seconds, or less if all processes are alive. Returns False if it gave
    up, because the database was away repeatedly. Raises ``LogUnavailable``.
    """
    mine = uuid4()
    observer: Observer[UUID] = Observer()
    leases.register(mine)
    try:
        until = observer.clock() + _PATIENCE * conf.current().RUNS.LEASE
        watched = leases.seen()
        del watched[mine]
        while watched and observer.clock() < until:
            time.sleep(interval())
            watched = _look_again(watched, mine, observer)
        return not watched
    finally:
        leases.remove(mine)


def _look_again(
    watched: Mapping[UUID, Seen], mine: UUID, observer: Observer[UUID]
) -> dict[UUID, Seen]:
    """End the runs of leases that were unchanged for too long; return those still to be watched."""
    leases.renew(mine)
    observer.wrote(longest_pause())
    asked, seen = observer.clock(), leases.seen()
    same = {lease: was for lease, was in watched.items() if seen.get(lease) == was}
    lost = too_long(observer.unchanged(same, asked=asked), same)
    for lease in lost:
        end_lost(lease, same[lease].value)
    return {lease: was for lease, was in same.items() if lease not in lost}
