"""Ending the runs of processes that died."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from django_sse import conf
from django_sse.exceptions import LogUnavailable
from django_sse.process.observer import PAUSE, RENEWALS, Observer
from django_sse.runs import ends, leases, store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from django_sse.runs.leases import Seen

logger = logging.getLogger("django_sse")

# Leases after which ``end_all_lost`` gives up: the database was away again and again.
_PATIENCE = 5


def interval() -> float:
    """Return the seconds between two renewals, and between two looks."""
    runs = conf.current().RUNS
    return min(runs.LEASE, runs.UNWATCHED) / RENEWALS


def longest_pause() -> float:
    """Return the seconds between two writes of an observer after which it begins anew."""
    return PAUSE * interval()


def too_long(silences: Mapping[UUID, float], seen: Mapping[UUID, Seen]) -> list[UUID]:
    """Return the leases that were silent for longer than their process and this one allow."""
    ours = conf.current().RUNS.LEASE
    return [
        lease for lease, silence in silences.items() if silence > max(ours, seen[lease].seconds)
    ]


def end_lost(lease: UUID, value: int | None) -> int:
    """End the runs of ``lease``, whose value was ``value`` for too long; return how many.

    Of all processes one does it, and none if the lease was renewed meanwhile. Raises
    ``LogUnavailable``, after it has ended as many as it can.
    """
    if not leases.claim(lease, value):
        return 0
    count, failure = 0, None
    for runs in store.some_under_way(lease):
        try:
            ends.interrupt(runs)
        except LogUnavailable as error:
            # The rest is tried again when the lease, which is over, was silent for a while.
            failure = error
        else:
            count += len(runs)
    if count:
        logger.warning("Ended runs whose process had died: %d.", count)
    if failure is not None:
        raise failure
    leases.remove(lease)
    return count


def end_stray(run_id: UUID) -> None:
    """End a run that its process does not run. Raises ``LogUnavailable``."""
    run = store.find(run_id)
    if run is not None and run.slot is not None:
        logger.warning("The run %s was left without an end: ended as interrupted.", run_id)
        ends.interrupt([run])


def end_all_lost() -> bool:
    """Watch all leases until each has changed, and end the runs of those that do not in time.

    Blocks for as long as a lease lasts, less if all processes live. Returns False if it gave up,
    because the database was away again and again. Raises ``LogUnavailable``.
    """
    mine = uuid4()
    observer: Observer[UUID] = Observer()
    leases.register(mine)
    try:
        until = observer.clock() + _PATIENCE * conf.current().RUNS.LEASE
        silent = leases.seen()
        del silent[mine]
        while silent and observer.clock() < until:
            time.sleep(interval())
            silent = _look_again(silent, mine, observer)
        return not silent
    finally:
        leases.remove(mine)


def _look_again(
    silent: Mapping[UUID, Seen], mine: UUID, observer: Observer[UUID]
) -> dict[UUID, Seen]:
    """End those of ``silent`` that were it for too long, and return what is still to be watched."""
    leases.renew(mine)
    observer.wrote(longest_pause())
    asked, seen = observer.clock(), leases.seen()
    silent = {lease: was for lease, was in silent.items() if seen.get(lease) == was}
    lost = too_long(observer.silences(silent, asked=asked), silent)
    for lease in lost:
        end_lost(lease, silent[lease].value)
    return {lease: was for lease, was in silent.items() if lease not in lost}
