"""The rows of leases, on each database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection

from django_sse.exceptions import LogUnavailable
from django_sse.models import Lease
from django_sse.runs import leases, store
from django_sse.runs.leases import Seen
from tests.unit.log.support import in_threads
from tests.unit.runs.support import new_run

pytestmark = [
    pytest.mark.usefixtures("database", "configure"),
    pytest.mark.django_db(transaction=True),
]


def registered() -> UUID:
    lease = uuid4()
    leases.register(lease)
    return lease


@pytest.mark.options(LEASE=7.5)
def test_a_lease_says_how_long_it_may_stay_unchanged_and_each_renewal_changes_it() -> None:
    lease, other = registered(), registered()
    seen = [leases.seen()[lease]]
    for _ in range(3):
        assert leases.renew(lease)
        seen.append(leases.seen()[lease])
    assert len(set(seen)) == 4
    assert {each.seconds for each in seen} == {7.5}
    assert leases.seen()[other] == Seen(0, 7.5)


def test_of_many_claims_one_succeeds_and_it_is_never_renewed_again() -> None:
    lease = registered()
    value = leases.seen()[lease].value
    assert sorted(in_threads(*[partial(leases.claim, lease, value)] * 8)) == [False] * 7 + [True]
    assert not leases.renew(lease)
    assert leases.seen()[lease].value is None
    leases.remove(lease)
    assert not leases.renew(lease)
    assert leases.seen() == {}


def test_one_that_was_renewed_meanwhile_cannot_be_claimed() -> None:
    lease = registered()
    value = leases.seen()[lease].value
    leases.renew(lease)
    assert not leases.claim(lease, value)
    assert leases.renew(lease)


def test_either_the_renewal_or_the_claim_comes_first() -> None:
    for _ in range(10):
        lease = registered()
        value = leases.seen()[lease].value
        renewed, claimed = in_threads(
            partial(leases.renew, lease), partial(leases.claim, lease, value)
        )
        assert renewed != claimed
        assert leases.renew(lease) == renewed


def test_any_process_may_end_the_runs_of_a_lease_that_is_over() -> None:
    lease = registered()
    assert leases.claim(lease, 0)
    assert leases.claim(lease, leases.seen()[lease].value)


def test_its_row_stays_until_its_runs_have_no_slots() -> None:
    run = new_run()
    leases.remove(run.lease)
    assert run.lease in leases.seen()
    # Its generator may still be there.
    store.ended([run.pk])
    leases.remove(run.lease)
    assert run.lease in leases.seen()
    store.stopped([run.pk])
    leases.remove(run.lease)
    assert Lease.objects.count() == 0


def test_a_lease_without_a_row_counts_as_over_while_its_runs_have_slots() -> None:
    lease = uuid4()
    runs = [new_run(f"user:{number}", lease=lease) for number in range(2)]
    assert leases.seen() == {lease: Seen(None, 0.0)}
    assert leases.any_run()
    store.stopped([run.pk for run in runs])
    assert leases.seen() == {}
    assert not leases.any_run()


@pytest.mark.parametrize(
    "call",
    [
        partial(leases.register, uuid4()),
        partial(leases.renew, uuid4()),
        partial(leases.claim, uuid4(), 1),
        partial(leases.remove, uuid4()),
        leases.seen,
        leases.any_run,
    ],
)
def test_a_database_that_is_away_is_a_log_that_is_away(call: Callable[[], object]) -> None:
    def away(*args: Any) -> Any:
        raise OperationalError("gone away")

    with connection.execute_wrapper(away), pytest.raises(LogUnavailable, match="gone away"):
        call()


@pytest.mark.parametrize("call", [leases.renew, partial(leases.claim, value=0)])
def test_a_change_of_a_lease_holds_its_lock_no_longer_than_its_statement(
    call: Callable[[UUID], bool],
) -> None:
    lease = registered()
    statements: list[tuple[bool, str]] = []

    def note(execute: Any, sql: str, *args: Any) -> Any:
        statements.append((connection.in_atomic_block, sql.split(maxsplit=1)[0]))
        return execute(sql, *args)

    with connection.execute_wrapper(note):
        assert call(lease)
    assert statements == [(False, "UPDATE")]
