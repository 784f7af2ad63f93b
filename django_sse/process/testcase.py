"""Whether code runs in a project's test. No other module of the package tries to find out.

The transaction of a ``TestCase`` is never committed, so only the test's own thread sees what it
wrote, and hooks for its commit never run. In production each question costs one ``hasattr``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.core import mail
from django.db import connections

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.http import HttpRequest


def in_testcase(connection: BaseDatabaseWrapper) -> bool:
    """Whether ``connection`` is inside the transaction that ``django.test.TestCase`` rolls back.

    That transaction never commits, so nothing may wait for its commit. Django marks its blocks with
    ``_from_testcase`` (private; ``atomic(durable=True)`` reads it as well).
    """
    return any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def _any_testcase() -> bool:
    return any(in_testcase(connection) for connection in connections.all(initialized_only=True))


def in_transaction() -> bool:
    """Whether this thread is inside a transaction whose writes no other thread sees yet."""
    return any(
        connection.in_atomic_block and not in_testcase(connection)
        for connection in connections.all(initialized_only=True)
    )


def in_test_run() -> bool:
    """Whether Django's test environment is set up: ``mail.outbox`` exists only there."""
    return hasattr(mail, "outbox")


def thread_in_users_test() -> bool:
    """Whether this thread is inside the transaction of a ``TestCase``, which no other can see."""
    return in_test_run() and _any_testcase()


async def in_users_test() -> bool:
    """``thread_in_users_test`` for the thread that a coroutine's sync code runs in."""
    return in_test_run() and await sync_to_async(_any_testcase)()


def is_from_sync_test_client(request: HttpRequest | None) -> bool:
    """Whether Django's synchronous test client made ``request``.

    Its only mark is the attribute, a private one, by which it turns the CSRF checks off. The
    asynchronous client has it as well; its requests are of another class.
    """
    return hasattr(request, "_dont_enforce_csrf_checks") and not hasattr(request, "scope")
