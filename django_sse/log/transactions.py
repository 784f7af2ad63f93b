"""The state of the caller's transaction, and retries when the database asks for them."""

from __future__ import annotations

import inspect
import random
import sys
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from django.db import InterfaceError, InternalError, OperationalError, connections, transaction

from django_sse import constants
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
    """Return whether an ``atomic()`` block that begins on this thread now commits at its end.

    Inside ``TestCase`` nothing ever commits, so there every block counts as committed.
    """
    connection = connections[alias]
    if connection.in_atomic_block:
        return in_testcase(connection)
    return _autocommit(connection)


def _autocommit(connection: BaseDatabaseWrapper) -> bool:
    """Return whether autocommit is on, without connecting as ``get_autocommit`` does.

    A log in memory needs no connection, and ``run`` handles a database that does not respond.
    """
    if connection.connection is None:
        return bool(connection.settings_dict["AUTOCOMMIT"])
    return connection.autocommit


def shares_fate(alias: str) -> bool:
    """Return whether a publish on this thread must share the fate of a transaction on ``alias``.

    Raises ``PublishNotAllowed`` if autocommit is off: then nothing tells when it commits.
    """
    connection = connections[alias]
    if not connection.settings_dict["AUTOCOMMIT"]:
        raise PublishNotAllowed(
            f"DATABASES[{alias!r}] has AUTOCOMMIT False, so Django never reports that a "
            "transaction was committed, not even with transaction.atomic(). Remove AUTOCOMMIT, or "
            'set DJANGO_SSE["DATABASE"] to an alias with autocommit on; it may be an alias of the '
            "same database."
        )
    if connection.in_atomic_block:
        return not in_testcase(connection)
    if not _autocommit(connection):
        raise PublishNotAllowed(
            f"Autocommit is off on the database {alias!r}, so Django does not report the commit. "
            "Turn autocommit on, or publish inside transaction.atomic(): those events are sent "
            "once you have committed and turned autocommit on again."
        )
    _warn_of_other_transactions(alias)
    return False


def _callers_level() -> int:
    """Return the ``stacklevel`` of the first caller outside this library."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("django_sse."):
        level, frame = level + 1, frame.f_back
    return level


@contextmanager
def read_committed(alias: str) -> Iterator[None]:
    """Open an ``atomic()`` block in which each statement sees all commits made before it began.

    It does so whatever isolation level the project has set: a snapshot taken before a lock was
    granted does not show the changes of the lock's last holder. Inside a transaction (``TestCase``)
    the level cannot be changed.
    """
    connection = connections[alias]
    wanted = not connection.in_atomic_block and not _is_read_committed(connection)
    if wanted and connection.vendor == "mysql":
        # MySQL sets the level of the next transaction.
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
        # "read committed" is Django's default. None means the server's default, which is unknown.
        return str(options.get("isolation_level", _LEVEL)).lower() == _LEVEL
    if connection.vendor == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        chosen = options.get("isolation_level")
        if chosen is not None:
            return bool(chosen == IsolationLevel.READ_COMMITTED)
        return _default_level(connection) == _LEVEL
    return True


def _default_level(connection: BaseDatabaseWrapper) -> str:
    """Return PostgreSQL's default level for the role or database, read once for a connection."""
    connection.ensure_connection()
    if connection.connection not in _default_levels:
        shown = _execute(connection, "SHOW default_transaction_isolation")
        _default_levels[connection.connection] = shown
    return _default_levels[connection.connection]


def _warn_of_other_transactions(alias: str) -> None:
    for other in connections.all(initialized_only=True):
        if other.alias != alias and other.in_atomic_block and not in_testcase(other):
            warnings.warn(
                f"publish() was called inside a transaction on {other.alias!r}, but the log is on "
                f"{alias!r}, so the event does not share the transaction's fate. "
                "Publish from transaction.on_commit().",
                RuntimeWarning,
                stacklevel=_callers_level(),
            )


def may_be_tried_again(error: BaseException) -> bool:
    """Return whether the database aborted this transaction in favour of another one."""
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) in _SQLSTATES:
        return True
    args = getattr(cause, "args", ())
    if args and args[0] in _ERRNOS:
        return True
    return "is locked" in str(error)


@contextmanager
def _interruptible(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Re-raise an interrupt (Ctrl-C) as it is, and leave a usable connection.

    psycopg leaves the interrupted statement running, so Django's clean-up fails. If that error
    replaced the interrupt, ``on_commit(robust=True)`` would log it and continue.
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


def _hint(error: Exception) -> str:
    # An OperationalError on SQLite only; elsewhere a ProgrammingError, which is raised as it is.
    return ". Did you run manage.py migrate?" if "no such table" in str(error) else ""


def run(alias: str, work: Callable[[], T]) -> T:
    """Run ``work()``, which is one transaction or one query on ``alias``, and return its result.

    It is retried a bounded number of times if the database aborts it in favour of another
    transaction (a deadlock, a serialization failure, a locked SQLite file), unless another try
    would be likely to end later than ``LOCK_WAIT`` seconds after the first began. Inside the
    caller's transaction a retry could not help, so there it runs once. Raises ``LogUnavailable``
    from the database's error; an interrupt (Ctrl-C) is raised as it is.
    """
    connection = connections[alias]
    began = time.monotonic()
    for attempt in range(1, TRIES + 1):
        try:
            with _interruptible(connection):
                return work()
        # PostgreSQL raises InternalError for a transaction that is read-only or was aborted.
        except (OperationalError, InterfaceError, InternalError) as error:
            inside = connection.in_atomic_block
            # SQLite itself waits for its file, as long as its "timeout" option says.
            another = (time.monotonic() - began) * (attempt + 1) / attempt
            last = attempt == TRIES or another > constants.LOCK_WAIT
            if inside or last or not may_be_tried_again(error):
                if not inside:
                    connection.close_if_unusable_or_obsolete()
                raise LogUnavailable(
                    f"The event log's database {alias!r} failed: {error}{_hint(error)}"
                ) from error
        time.sleep(random.uniform(0, 0.01 * 2**attempt))
    raise AssertionError("unreachable")
