"""What state the caller's transaction is in, and trying again when the database asks for it."""

from __future__ import annotations

import inspect
import random
import sys
import threading
import time
import warnings
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from django.db import InterfaceError, InternalError, OperationalError, connections, transaction

from django_sse.exceptions import LogUnavailable, PublishNotAllowed
from django_sse.process.testcase import in_testcase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")

TRIES = 8
_LEVEL = "read committed"
_READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
_default_levels: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
# PostgreSQL: serialization_failure, deadlock_detected.
_SQLSTATES = frozenset({"40001", "40P01"})
# MySQL and MariaDB: lock wait time-out, deadlock, record changed since the snapshot.
_ERRNOS = frozenset({1205, 1213, 1020})


def commits_its_own(alias: str) -> bool:
    """Whether a block that begins on this thread now is committed at its end, and by itself.

    Inside ``TestCase`` nothing ever is, so there everything counts as committed.
    """
    connection = connections[alias]
    if connection.in_atomic_block:
        return in_testcase(connection)
    return _autocommit(connection)


def _autocommit(connection: BaseDatabaseWrapper) -> bool:
    """``get_autocommit`` opens the database: a log in memory needs none, and one that is away is
    for ``run`` to find out."""
    if connection.connection is None:
        return bool(connection.settings_dict["AUTOCOMMIT"])
    return connection.autocommit


def shares_fate(alias: str) -> bool:
    """Whether a publish on this thread must share the fate of a transaction on ``alias``.

    Raises ``PublishNotAllowed`` with autocommit off: nobody could say when that commits.
    """
    connection = connections[alias]
    if not connection.settings_dict["AUTOCOMMIT"]:
        raise PublishNotAllowed(
            f"DATABASES[{alias!r}] has AUTOCOMMIT False: Django never tells when a transaction is "
            "committed, not even one of transaction.atomic(). Remove that, or set "
            'DJANGO_SSE["DATABASE"] to another alias, of the same database if you like, that has '
            "autocommit on."
        )
    if connection.in_atomic_block:
        return not in_testcase(connection)
    if not _autocommit(connection):
        raise PublishNotAllowed(
            f"Autocommit is off on the database {alias!r}, so there is no commit to wait for. Turn "
            "it on; or publish inside transaction.atomic(): such events are sent once you have "
            "committed and turned autocommit on again."
        )
    _warn_of_other_transactions(alias)
    return False


def _callers_level() -> int:
    """The ``stacklevel`` of the caller's own line, whichever of our functions it called."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("django_sse."):
        level, frame = level + 1, frame.f_back
    return level


def outside(alias: str, work: Callable[[], T]) -> T:
    """``work()``, outside the caller's transaction: on a connection of its own where there is one.

    A channel's row that is made inside it would keep every other publisher to the channel waiting
    for its end. On SQLite they wait anyway, whoever is in a transaction has the database's only
    write lock; another connection would wait for its own caller.
    """
    if connections[alias].vendor == "sqlite" or commits_its_own(alias):
        return work()
    future: Future[T] = Future()

    def run_and_close() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
        finally:
            connections.close_all()

    threading.Thread(target=run_and_close, name="django_sse-outside", daemon=True).start()
    return future.result()


@contextmanager
def read_committed(alias: str) -> Iterator[None]:
    """``atomic()`` in which each statement sees what was committed before it began.

    Whatever the project has set: in a snapshot taken before a lock was given, what the lock
    protects is still as it was before its last holder. Inside a transaction (``TestCase``) the
    level is what it is.
    """
    connection = connections[alias]
    wanted = not connection.in_atomic_block and not _is_read_committed(connection)
    if wanted and connection.vendor == "mysql":
        # There it is said before the transaction that it counts for.
        _execute(connection, _READ_COMMITTED)
    with transaction.atomic(using=alias):
        if wanted and connection.vendor == "postgresql":
            _execute(connection, _READ_COMMITTED)
        yield


def _execute(connection: BaseDatabaseWrapper, statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return str(cursor.fetchone()[0]) if cursor.description else ""


def _is_read_committed(connection: BaseDatabaseWrapper) -> bool:
    options = connection.settings_dict["OPTIONS"]
    if connection.vendor == "mysql":
        # Django's own default; None leaves the server's, which nobody can count on.
        return str(options.get("isolation_level", _LEVEL)).lower() == _LEVEL
    if connection.vendor == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        chosen = options.get("isolation_level")
        if chosen is not None:
            return bool(chosen == IsolationLevel.READ_COMMITTED)
        return _default_level(connection) == _LEVEL
    return True


def _default_level(connection: BaseDatabaseWrapper) -> str:
    """What PostgreSQL was told for the role or the database; asked once a connection."""
    connection.ensure_connection()
    if connection.connection not in _default_levels:
        shown = _execute(connection, "SHOW default_transaction_isolation")
        _default_levels[connection.connection] = shown
    return _default_levels[connection.connection]


def _warn_of_other_transactions(alias: str) -> None:
    for other in connections.all(initialized_only=True):
        if other.alias != alias and other.in_atomic_block and not in_testcase(other):
            warnings.warn(
                f"publish() inside a transaction on {other.alias!r}: the log is on {alias!r}, so "
                "the event does not share its fate. Publish from transaction.on_commit().",
                RuntimeWarning,
                stacklevel=_callers_level(),
            )


def may_be_tried_again(error: BaseException) -> bool:
    """Whether the database gave up on a transaction of ours in favour of another's."""
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) in _SQLSTATES:
        return True
    args = getattr(cause, "args", ())
    if args and args[0] in _ERRNOS:
        return True
    return "is locked" in str(error)


@contextmanager
def _interruptible(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Whatever interrupts the block is what it raises, and leaves a connection that works.

    psycopg leaves the statement under way. Then Django's own clean-up fails, and where that error
    takes the place of the interrupt, ``on_commit(robust=True)`` logs it and goes on.
    """
    handled = sys.exception()
    try:
        yield
    except BaseException as error:
        cause: BaseException | None = error
        while cause is not handled and isinstance(cause, Exception):
            cause = cause.__cause__ or cause.__context__
        if cause is None or cause is handled:
            raise
        if not connection.in_atomic_block:
            connection.close()
        raise cause  # noqa: B904 - without what only followed from it


def run(alias: str, work: Callable[[], T]) -> T:
    """``work()``, which runs one transaction of its own, or one query, on ``alias``.

    It is run again, a bounded number of times, when the database gave up on it in favour of
    another (deadlock, serialization failure, a locked SQLite file). Inside a transaction of the
    caller's that would be of no use, so there it is run once. Raises ``LogUnavailable`` from the
    database's error, and what interrupted it (Ctrl-C) as it is.
    """
    connection = connections[alias]
    for attempt in range(1, TRIES + 1):
        try:
            with _interruptible(connection):
                return work()
        # An InternalError is PostgreSQL's for a transaction that is read-only or was given up.
        except (OperationalError, InterfaceError, InternalError) as error:
            inside = connection.in_atomic_block
            if inside or attempt == TRIES or not may_be_tried_again(error):
                if not inside:
                    connection.close_if_unusable_or_obsolete()
                raise LogUnavailable(f"The event log's database {alias!r}: {error}") from error
        time.sleep(random.uniform(0, 0.01 * 2**attempt))
    raise AssertionError("unreachable")
