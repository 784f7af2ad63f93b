"""The rows of leases: each event loop with runs, or with clients of runs, renews one.

All functions use the log's database, are synchronous, and raise ``LogUnavailable``. Each change is
one statement that commits by itself: a host that vanishes holds no lock on a lease.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import BigIntegerField, Exists, F, FloatField, OuterRef, Value

from django_sse import conf
from django_sse.log import transactions
from django_sse.models import Lease, Run

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.models import QuerySet


class Seen(NamedTuple):
    """A lease: its value, None if it is over, and the seconds for which it may stay unchanged."""

    value: int | None
    seconds: float


def _rows() -> QuerySet[Lease]:
    return Lease.objects.using(conf.current().DATABASE)


def _under_way() -> QuerySet[Run]:
    # A run that has ended keeps its slot until its generator has stopped.
    return Run.objects.using(conf.current().DATABASE).filter(slot__isnull=False)


def register(lease: UUID) -> None:
    """Make the row of ``lease``, an id that was never used before."""
    seconds = conf.current().RUNS.LEASE
    make = partial(_rows().create, pk=lease, value=0, seconds=seconds)
    transactions.run(conf.current().DATABASE, make)


def renew(lease: UUID) -> bool:
    """Change the value of ``lease``. Returns False if another process has claimed it: then it is
    over for good, and its row may be gone already."""
    alive = _rows().filter(pk=lease, value__isnull=False)
    change = partial(alive.update, value=F("value") + 1)
    return bool(transactions.run(conf.current().DATABASE, change))


def seen() -> dict[UUID, Seen]:
    """Return each lease.

    A lease whose row is gone is among them if runs of it have slots: their process did not know
    yet that it was over when it began them.
    """
    gone = _under_way().exclude(Exists(_rows().filter(pk=OuterRef("lease"))))
    over = (Value(None, output_field=BigIntegerField()), Value(0.0, output_field=FloatField()))
    every = _rows().values_list("pk", "value", "seconds").union(gone.values_list("lease", *over))
    return transactions.run(
        conf.current().DATABASE,
        lambda: {lease: Seen(value, seconds) for lease, value, seconds in every},
    )


def any_run() -> bool:
    """Return whether any run has a slot."""
    return transactions.run(conf.current().DATABASE, _under_way().exists)


def claim(lease: UUID, value: int | None) -> bool:
    """End ``lease`` if it still has ``value``; return whether its runs may be ended."""
    if value is None:
        return True
    unchanged = _rows().filter(pk=lease, value=value)
    return bool(transactions.run(conf.current().DATABASE, partial(unchanged.update, value=None)))


def remove(lease: UUID) -> None:
    """Remove the row of ``lease`` unless a run of it has a slot."""
    used = Exists(_under_way().filter(lease=OuterRef("pk")))
    transactions.run(conf.current().DATABASE, _rows().filter(pk=lease).exclude(used).delete)
