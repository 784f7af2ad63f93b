"""The databases on which the log's suites of `tests/unit` run once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
from django.core.management import call_command

from tests import databases
from tests.unit.log.conftest import log, model_log, other
from tests.unit.log.support import as_default
from tests.unit.runs.conftest import configure, live

__all__ = ["configure", "live", "log", "model_log", "other"]

_URLS = {"postgres": databases.POSTGRES_URL, "mariadb": databases.MARIADB_URL}


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


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in _URLS]
)
def database(
    request: pytest.FixtureRequest, migrated: Callable[[str], Any], django_db_blocker: Any
) -> Iterator[str]:
    """The module's tests run once on each database; it is the default one meanwhile."""
    config = migrated(request.param)
    with django_db_blocker.unblock(), as_default(config):
        # The tests themselves have to ask for the database.
        django_db_blocker.block()
        try:
            yield request.param
        finally:
            django_db_blocker.restore()


@pytest.fixture(scope="module")
def storage(database: str) -> str:
    return database
