"""The rows of runs: whose they are, and how it is noticed that one has nobody left to end it.

All functions read or write the log's database, are synchronous, and raise ``LogUnavailable``.
"""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction

from django_sse import conf
from django_sse.exceptions import TooManyRuns
from django_sse.log import get_log, transactions
from django_sse.log.orm import BATCH, DatabaseNow, channel_hash
from django_sse.models import Channel, Run, State

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import TypeVar
    from uuid import UUID

    from django.db.models import QuerySet
    from django.db.models.expressions import Combinable

    T = TypeVar("T")

# Of runs that begin at once each takes another place, most of the time at the first try.
_TRIES = 20


def _alias() -> str:
    return conf.current().DATABASE


def _rows() -> QuerySet[Run]:
    return Run.objects.using(_alias())


def _run(work: Callable[[], T]) -> T:
    return transactions.run(_alias(), work)


def _in(seconds: float) -> Combinable:
    """The database's time, so many seconds from now."""
    return DatabaseNow() + timedelta(seconds=seconds)


def create(owner: str, *, dialect: str, while_connected: bool) -> Run:
    """A run of ``owner`` that begins now. Raises ``TooManyRuns``."""
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
            lease=_in(conf.current().RUNS.LEASE),
            watched=DatabaseNow(),
        )
        try:
            return _run(partial(_insert, run))
        except IntegrityError:
            # Another run was quicker.
            continue
    raise TooManyRuns(
        f"{most} runs of one owner are under way already, as many as RUNS_PER_OWNER allows."
    )


def _slots(owner: str) -> set[int | None]:
    return set(_rows().filter(owner=owner, slot__isnull=False).values_list("slot", flat=True))


def _insert(run: Run) -> Run:
    with transaction.atomic(using=_alias()):
        run.save(using=_alias(), force_insert=True)
    (head,) = get_log().open([run.channel])
    _rows().filter(pk=run.pk).update(epoch=head.epoch)
    return _rows().get(pk=run.pk)


def find(run_id: UUID) -> Run | None:
    """The run of that id."""
    return _run(_rows().filter(pk=run_id).first)


def find_by_epoch(epoch: str) -> Run | None:
    """The run whose channel's events have this epoch in their ids."""
    return _run(_rows().filter(epoch=epoch).first)


def renew(own: Iterable[UUID], watched: Iterable[UUID]) -> None:
    """This process lives and has the runs ``own``, and clients of the runs ``watched``."""
    lease = conf.current().RUNS.LEASE
    for ids in _batches(own):
        rows = _rows().filter(pk__in=ids, ended__isnull=True)
        _run(partial(rows.update, lease=_in(lease)))
    for ids in _batches(watched):
        rows = _rows().filter(pk__in=ids, ended__isnull=True, while_connected=True)
        _run(partial(rows.update, watched=DatabaseNow()))


def _batches(ids: Iterable[UUID]) -> list[list[UUID]]:
    every = list(ids)
    return [every[start : start + BATCH] for start in range(0, len(every), BATCH)]


def expired(*, owner: str | None = None, run_id: UUID | None = None) -> list[Run]:
    """Runs that have not ended and that no process claims any more; some of them."""
    rows = _rows().filter(ended__isnull=True, lease__lt=DatabaseNow())
    if owner is not None:
        rows = rows.filter(owner=owner)
    if run_id is not None:
        rows = rows.filter(pk=run_id)
    return _run(lambda: list(rows[:BATCH]))


def claim(runs: Collection[Run]) -> list[Run]:
    """Those of ``runs`` whose leases have run out, now and not when they were looked up; for as
    long as a lease nobody else will have them."""
    ids = [run.pk for run in runs]

    def take() -> list[Run]:
        with transaction.atomic(using=_alias()):
            rows = _rows().filter(pk__in=ids, ended__isnull=True, lease__lt=DatabaseNow())
            taken = list(rows.select_for_update())
            rows.filter(pk__in=[run.pk for run in taken]).update(
                lease=_in(conf.current().RUNS.LEASE)
            )
            return taken

    return _run(take) if ids else []


def unwatched(ids: Collection[UUID]) -> list[UUID]:
    """Those of ``ids`` that no process has had a client of for ``UNWATCHED`` seconds."""
    rows = _rows().filter(pk__in=ids, watched__lt=_in(-conf.current().RUNS.UNWATCHED))
    return _run(lambda: list(rows.values_list("pk", flat=True)))


def ended(ids: Iterable[UUID]) -> None:
    """The channels of these runs have their ends."""
    for some in _batches(ids):
        rows = _rows().filter(pk__in=some, ended__isnull=True)
        _run(partial(rows.update, ended=DatabaseNow(), slot=None))


def discard(runs: Sequence[Run]) -> None:
    """Remove runs with all that they said."""
    hashes = [channel_hash(run.channel) for run in runs]

    def remove() -> None:
        with transaction.atomic(using=_alias()):
            _rows().filter(pk__in=[run.pk for run in runs]).delete()
            Channel.objects.using(_alias()).filter(name_hash__in=hashes).delete()

    _run(remove)


def channels_under_way() -> set[str]:
    """The channels of the runs that have not ended."""
    rows = _rows().filter(ended__isnull=True).only("pk")
    return _run(lambda: {run.channel for run in rows})


def remove_old(seconds: float, *, dry_run: bool = False) -> int:
    """Remove the runs that ended longer ago than that, with all that they said; how many went."""
    rows = _rows().filter(ended__lt=_in(-seconds))
    if dry_run:
        return _run(rows.count)
    removed = 0
    while some := _run(lambda: list(rows[:BATCH])):
        discard(some)
        removed += len(some)
    return removed


def state(run: Run) -> tuple[str, int]:
    """How the run's channel ended (empty: it has not), and how many events it has."""
    head = get_log().heads([run.channel]).get(run.channel)
    return (State.OPEN.value, 0) if head is None else (head.state, head.head)
