"""The logs under test, on each database that is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
from django.core.management import call_command

from django_sse.log import EventLog, get_log
from django_sse.log.memory import MemoryLog
from django_sse.log.model import ModelLog
from tests import databases
from tests.unit.log.support import as_default

_URLS = {"postgres": databases.POSTGRES_URL, "mariadb": databases.MARIADB_URL}
# "default": what tests.settings say, so SQLite or DJANGO_SSE_TEST_DATABASE_URL.
DATABASES = [
    "default",
    *[pytest.param(name, marks=pytest.mark.needs(name)) for name in _URLS],
]


@pytest.fixture(scope="session")
def migrated(django_db_setup: None, django_db_blocker: Any) -> Iterator[Callable[[str], Any]]:
    """`migrated("postgres")`: the configuration of a database with our tables, made once."""
    with ExitStack() as stack:

        @cache
        def make(name: str) -> dict[str, Any]:
            found = databases.config(stack.enter_context(databases.fresh(_URLS[name])))
            with django_db_blocker.unblock(), as_default(found):
                # Of all apps: after each test Django asks all of them what belongs in an empty one.
                call_command("migrate", verbosity=0)
            return found

        yield make


@pytest.fixture(scope="module", params=DATABASES)
def database(
    request: pytest.FixtureRequest, migrated: Callable[[str], Any], django_db_blocker: Any
) -> Iterator[str]:
    """The module's tests run once on each database; it is the default one meanwhile."""
    yield from _on(request.param, migrated, django_db_blocker)


@pytest.fixture(scope="module", params=["memory", *DATABASES])
def storage(
    request: pytest.FixtureRequest, migrated: Callable[[str], Any], django_db_blocker: Any
) -> Iterator[str]:
    """As `database`, and once more for a log in memory."""
    yield from _on(request.param, migrated, django_db_blocker)


def _on(name: str, migrated: Callable[[str], Any], django_db_blocker: Any) -> Iterator[str]:
    if name not in _URLS:
        yield name
        return
    config = migrated(name)
    with django_db_blocker.unblock(), as_default(config):
        # The tests themselves have to ask for the database.
        django_db_blocker.block()
        try:
            yield name
        finally:
            django_db_blocker.restore()


@pytest.fixture
def log(storage: str, request: pytest.FixtureRequest) -> EventLog:
    name = "memory_log" if storage == "memory" else "model_log"
    found: EventLog = request.getfixturevalue(name)
    return found


@pytest.fixture
def model_log(transactional_db: None) -> ModelLog:
    log = get_log()
    assert isinstance(log, ModelLog)
    return log


@pytest.fixture
def memory_log(transactional_db: None, settings: Any) -> Iterator[MemoryLog]:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "LOG": "django_sse.log.memory.MemoryLog"}
    log = get_log()
    assert isinstance(log, MemoryLog)
    log.clear()
    yield log
    log.clear()
