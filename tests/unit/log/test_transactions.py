from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from django.db import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.test import TestCase

from django_sse.exceptions import LogUnavailable, PublishNotAllowed
from django_sse.log import EventLog, get_log
from django_sse.log.transactions import TRIES, commits_its_own, run, shares_fate
from django_sse.process.testcase import in_testcase
from tests.appending import append_to
from tests.options import Overrides
from tests.unit.log.support import another_database, entry, in_threads, texts


class DriverError(Exception):
    """As a database driver raises it, for Django to wrap."""

    def __init__(self, *args: object, sqlstate: str | None = None) -> None:
        super().__init__(*args)
        self.sqlstate = sqlstate


def wrapped(error: type[Exception], text: str, cause: Exception | None = None) -> Exception:
    raised = error(text)
    raised.__cause__ = cause
    return raised


def failing(times: int, error: Exception) -> tuple[Callable[[], str], list[int]]:
    """Work that fails some times before it succeeds, and a list that grows with each run."""
    runs: list[int] = []

    def work() -> str:
        runs.append(len(runs))
        if len(runs) <= times:
            raise error
        return "done"

    return work, runs


# -- the state of the caller's transaction


class InsideTestCase(TestCase):
    def test_the_transaction_of_a_testcase_is_known(self) -> None:
        assert in_testcase(connection)

    def test_it_shares_no_fate_since_it_never_commits(self) -> None:
        assert not shares_fate("default")
        assert commits_its_own("default")

    def test_nor_does_a_block_inside_it(self) -> None:
        with transaction.atomic(), transaction.atomic():
            assert in_testcase(connection)
            assert not shares_fate("default")
            assert commits_its_own("default")


@pytest.mark.django_db(transaction=True)
def test_a_block_shares_its_fate() -> None:
    assert not shares_fate("default")
    with transaction.atomic():
        assert not in_testcase(connection)
        assert shares_fate("default")
        with transaction.atomic():
            assert shares_fate("default")
    assert not shares_fate("default")


@pytest.mark.django_db(transaction=True)
def test_a_block_inside_another_does_not_commit_its_own() -> None:
    assert commits_its_own("default")
    with transaction.atomic():
        assert not commits_its_own("default")


@pytest.mark.django_db(transaction=True)
def test_with_autocommit_off_nothing_is_promised() -> None:
    transaction.set_autocommit(False)
    try:
        assert not commits_its_own("default")
        with pytest.raises(PublishNotAllowed, match="'default'"):
            shares_fate("default")
        with transaction.atomic():
            assert shares_fate("default")
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@pytest.mark.django_db(transaction=True)
def test_where_the_settings_turn_autocommit_off_no_block_is_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Django then runs no hook after a commit, whoever makes it.
    monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
    for block in (nullcontext(), transaction.atomic()):
        with block, pytest.raises(PublishNotAllowed, match=r"DATABASES.*AUTOCOMMIT.*DATABASE"):
            shares_fate("default")


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_a_block_on_another_database_warns(other: str) -> None:
    with transaction.atomic(using=other):
        with pytest.warns(RuntimeWarning, match=r"'other'.*on_commit"):
            assert not shares_fate("default")
        assert shares_fate(other)


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_a_block_on_both_shares_its_fate_and_does_not_warn(other: str) -> None:
    with warnings.catch_warnings(), transaction.atomic(using=other), transaction.atomic():
        warnings.simplefilter("error")
        assert shares_fate("default")


# -- trying again


@pytest.mark.parametrize(
    "error",
    [
        wrapped(OperationalError, "database is locked", DriverError("database is locked")),
        wrapped(OperationalError, "database table is locked: django_sse_channel"),
        wrapped(OperationalError, "serialize", DriverError("serialize", sqlstate="40001")),
        wrapped(OperationalError, "deadlock", DriverError("deadlock", sqlstate="40P01")),
        wrapped(OperationalError, "deadlock", DriverError(1213, "Deadlock found")),
        wrapped(OperationalError, "wait", DriverError(1205, "Lock wait timeout exceeded")),
        wrapped(OperationalError, "changed", DriverError(1020, "Record has changed")),
    ],
    ids=str,
)
@pytest.mark.django_db(transaction=True)
def test_what_lost_against_another_is_run_again(error: Exception) -> None:
    work, runs = failing(2, error)
    assert run("default", work) == "done"
    assert len(runs) == 3


@pytest.mark.parametrize(
    "error",
    [
        wrapped(OperationalError, "no such table", DriverError("no such table")),
        wrapped(OperationalError, "gone", DriverError(2006, "MySQL server has gone away")),
        wrapped(OperationalError, "timeout", DriverError("timeout", sqlstate="57014")),
        wrapped(InterfaceError, "closed", DriverError("connection already closed")),
        wrapped(OperationalError, "without a cause"),
    ],
    ids=str,
)
@pytest.mark.django_db(transaction=True)
def test_what_would_fail_again_is_not_run_again(error: Exception) -> None:
    work, runs = failing(1, error)
    with pytest.raises(LogUnavailable, match="'default'") as caught:
        run("default", work)
    assert caught.value.__cause__ is error
    assert len(runs) == 1


@pytest.mark.django_db(transaction=True)
def test_the_tries_are_bounded() -> None:
    work, runs = failing(10**6, wrapped(OperationalError, "database is locked"))
    with pytest.raises(LogUnavailable, match="database is locked"):
        run("default", work)
    assert len(runs) == TRIES


@pytest.mark.django_db(transaction=True)
def test_a_try_that_would_end_too_late_is_not_begun(constants: Overrides) -> None:
    constants(LOCK_WAIT=0.1)
    runs = []

    def wait_for_the_file() -> None:
        runs.append(1)
        threading.Event().wait(0.06)
        raise wrapped(OperationalError, "database is locked")

    with pytest.raises(LogUnavailable, match="database is locked"):
        run("default", wait_for_the_file)
    assert len(runs) == 1


@pytest.mark.django_db(transaction=True)
def test_inside_the_callers_transaction_nothing_is_run_again() -> None:
    # The database has rolled it back, or the caller has to: running on would be of no use.
    error = wrapped(OperationalError, "deadlock", DriverError(1213, "Deadlock found"))
    work, runs = failing(1, error)
    with transaction.atomic(), pytest.raises(LogUnavailable) as caught:
        run("default", work)
    assert caught.value.__cause__ is error
    assert len(runs) == 1


@pytest.mark.parametrize("error", [IntegrityError("twice"), KeyError("bug")])
@pytest.mark.django_db(transaction=True)
def test_other_errors_pass_as_they_are(error: Exception) -> None:
    work, runs = failing(1, error)
    with pytest.raises(type(error)) as caught:
        run("default", work)
    assert caught.value is error
    assert len(runs) == 1


@pytest.mark.django_db(transaction=True)
def test_what_fails_while_an_interrupt_is_handled_is_a_failure() -> None:
    work, _ = failing(1, wrapped(OperationalError, "gone", DriverError("gone")))
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        with pytest.raises(LogUnavailable):
            run("default", work)


@pytest.fixture(scope="module")
def impatient(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """The log on a connection that waits for SQLite's lock for next to no time."""
    if connection.vendor != "sqlite":
        pytest.skip("one lock for the whole database: SQLite only")
    config = {"ENGINE": connection.settings_dict["ENGINE"]}
    options = {"transaction_mode": "IMMEDIATE", "timeout": 0.01}
    config |= {"NAME": connection.settings_dict["NAME"], "OPTIONS": options}
    with another_database("impatient", **config) as alias, django_db_blocker.unblock():
        yield alias


@pytest.fixture
def impatient_log(impatient: str, settings: Any) -> EventLog:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "DATABASE": impatient}
    return get_log()


@pytest.mark.django_db(transaction=True, databases=["default", "impatient"])
def test_a_database_that_stays_locked_is_unavailable(impatient_log: EventLog) -> None:
    with transaction.atomic(), pytest.raises(LogUnavailable, match="locked"):
        append_to(impatient_log, [entry("c", "1")])
    append_to(impatient_log, [entry("c", "2")])
    assert texts(impatient_log, "c") == ["2"]


@pytest.mark.django_db(transaction=True, databases=["default", "impatient"])
def test_a_database_that_was_locked_for_a_moment_is_written_to(
    impatient: str, impatient_log: EventLog
) -> None:
    held, seen = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            held.set()
            assert seen.wait(60)

    def append() -> None:
        assert held.wait(60)

        def locked(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
            try:
                return execute(sql, params, many, context)
            except OperationalError:
                seen.set()
                raise

        with connections[impatient].execute_wrapper(locked):
            append_to(impatient_log, [entry("c", "1")])

    in_threads(hold, append)
    assert texts(impatient_log, "c") == ["1"]
