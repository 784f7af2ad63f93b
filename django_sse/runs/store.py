"""The rows of runs: each run's owner, slot and lease (``leases.py``).

A run has a slot until its generator has stopped. That may be long after the run's end, because a
thread cannot be interrupted. Until then its process renews the lease; then it frees the slot. If
the process died, the process that ends its runs frees their slots, too.

All functions use the log's database, are synchronous, and raise ``LogUnavailable``.
"""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Coalesce

from django_sse import conf
from django_sse.exceptions import TooManyRuns
from django_sse.log import get_log, transactions
from django_sse.log.orm import BATCH, DatabaseNow, batches, channel_hash
from django_sse.models import Channel, Run, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeVar
    from uuid import UUID

    from django.db.models import QuerySet
    from django.db.models.expressions import Combinable

    from django_sse.log.base import Head

    T = TypeVar("T")

# Runs that begin at the same time choose random slots; usually the first try succeeds.
_TRIES = 20


def _alias() -> str:
    return conf.current().DATABASE


def _rows() -> QuerySet[Run]:
    return Run.objects.using(_alias())


def _run(work: Callable[[], T]) -> T:
    return transactions.run(_alias(), work)


def _in(seconds: float) -> Combinable:
    """Return the database's time in ``seconds`` from now."""
    return DatabaseNow() + timedelta(seconds=seconds)


def create(owner: str, *, lease: UUID, dialect: str, while_connected: bool) -> Run:
    """Create a run of ``owner``, with ``lease``, that begins now. Raises ``TooManyRuns``."""
    most = conf.current().LIMITS.RUNS_PER_OWNER
    for _ in range(_TRIES):
        taken = _run(partial(_slots, owner))
        free = [slot for slot in range(most) if slot not in taken]
        if not free:
            break
        run = Run(
            owner=owner,
            slot=random.choice(free),
            dialect=dialect,
            while_connected=while_connected,
            created=DatabaseNow(),
            lease=lease,
        )
        try:
            return _run(partial(_insert, run))
        except IntegrityError:
            # Another run took the slot first.
            continue
    raise TooManyRuns(
        f"The owner already has {most} runs in progress, as many as RUNS_PER_OWNER allows."
    )


def _slots(owner: str) -> set[int | None]:
    return set(_rows().filter(owner=owner, slot__isnull=False).values_list("slot", flat=True))


def _insert(run: Run) -> Run:
    with transaction.atomic(using=_alias()):
        run.save(using=_alias(), force_insert=True)
    (head,) = get_log().make([run.channel])
    _rows().filter(pk=run.pk).update(epoch=head.epoch)
    return _rows().get(pk=run.pk)


def find(run_id: UUID) -> Run | None:
    """Return the run with this id, or None."""
    return _run(_rows().filter(pk=run_id).first)


def find_by_epoch(epoch: str) -> Run | None:
    """Return the run whose channel has this epoch, or None."""
    return _run(_rows().filter(epoch=epoch).first)


def watch(ids: Iterable[UUID]) -> None:
    """Note that runs have clients in this process, for those that end when they have none."""
    for some in batches([*ids]):
        rows = _rows().filter(pk__in=some, ended__isnull=True, while_connected=True)
        _run(partial(rows.update, watched=F("watched") + 1))


def watched(ids: Iterable[UUID]) -> dict[UUID, int]:
    """Return for each run a number that changes as long as a process has a client of it."""
    found: dict[UUID, int] = {}
    for some in batches([*ids]):
        rows = _rows().filter(pk__in=some).values_list("pk", "watched")
        found |= _run(partial(dict, rows))
    return found


def under_way(lease: UUID) -> list[UUID]:
    """Return the ids of the runs of ``lease`` that have slots."""
    rows = _rows().filter(lease=lease, slot__isnull=False)
    return _run(lambda: list(rows.values_list("pk", flat=True)))


def some_under_way(lease: UUID) -> Iterator[list[Run]]:
    """Yield all runs of ``lease`` that have slots, some at a time."""
    for some in batches(under_way(lease)):
        yield _run(partial(list, _rows().filter(pk__in=some, slot__isnull=False)))


def ended(ids: Iterable[UUID]) -> None:
    """Mark these runs, whose channels have ended, as ended. They keep their slots."""
    for some in batches([*ids]):
        rows = _rows().filter(pk__in=some, ended__isnull=True)
        _run(partial(rows.update, ended=DatabaseNow()))


def stopped(ids: Iterable[UUID]) -> None:
    """Mark these runs, whose channels have ended, as ended, and free their slots: their generators
    have stopped, or died with their process."""
    for some in batches([*ids]):
        rows = _rows().filter(pk__in=some, slot__isnull=False)
        _run(partial(rows.update, ended=Coalesce("ended", DatabaseNow()), slot=None))


def stopping(owner: str) -> bool:
    """Return whether ``owner`` has a run that has ended, but whose generator has not stopped."""
    runs = _run(lambda: list(_rows().filter(owner=owner, slot__isnull=False)))
    # A client gets the end when it is in the log. The row is marked a moment later.
    heads = get_log().heads([run.channel for run in runs if run.ended is None])
    return any(run.ended for run in runs) or any(head.state for head in heads.values())


def discard(runs: Sequence[Run]) -> None:
    """Remove runs and all their events."""
    hashes = [channel_hash(run.channel) for run in runs]

    def remove() -> None:
        with transaction.atomic(using=_alias()):
            _rows().filter(pk__in=[run.pk for run in runs]).delete()
            Channel.objects.using(_alias()).filter(name_hash__in=hashes).delete()

    _run(remove)


def channels_under_way() -> set[str]:
    """Return the channels of the runs that have not ended."""
    rows = _rows().filter(ended__isnull=True).only("pk")
    return _run(lambda: {run.channel for run in rows})


def remove_old(seconds: float, *, dry_run: bool = False) -> int:
    """Remove runs that ended more than ``seconds`` ago, and their events; return how many."""
    rows = _rows().filter(ended__lt=_in(-seconds), slot__isnull=True)
    if dry_run:
        return _run(rows.count)
    removed = 0
    while some := _run(lambda: list(rows[:BATCH])):
        discard(some)
        removed += len(some)
    return removed


def heads(runs: Iterable[Run]) -> dict[UUID, Head]:
    """Return the heads of the runs' channels that still exist.

    A channel with the same name but another epoch was made later, and is not the run's.
    """
    named = {run.channel: run for run in runs}
    found = get_log().heads(named)
    return {
        run.pk: head
        for name, run in named.items()
        if (head := found.get(name)) is not None and head.epoch == run.epoch
    }


def state(run: Run) -> tuple[str, int]:
    """Return the state of the run's channel (empty while it is open) and its number of events.

    The state of an ended run whose channel is gone is an error, because its events are lost.
    """
    head = heads([run]).get(run.pk)
    if head is None:
        return (State.OPEN if run.ended is None else State.ERROR).value, 0
    return head.state, head.head
