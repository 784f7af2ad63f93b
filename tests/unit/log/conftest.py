"""The logs under test, on SQLite and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_sse.log import EventLog, get_log
from django_sse.log.memory import MemoryLog
from django_sse.log.model import ModelLog
from tests.options import Overrides
from tests.unit.log.support import second_database


@pytest.fixture(scope="module")
def database(django_db_setup: None) -> str:
    """The database of a suite: here the default one; `tests/integration/databases` has others."""
    return "default"


@pytest.fixture(scope="module", params=["memory", "default"])
def storage(request: pytest.FixtureRequest, django_db_setup: None) -> str:
    """As `database`, and once more for a log in memory."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def other(
    database: str, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The alias of one database more."""
    with django_db_blocker.unblock(), second_database(tmp_path_factory.mktemp("other")) as alias:
        yield alias


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
def memory_log(transactional_db: None, constants: Overrides) -> Iterator[MemoryLog]:
    constants(LOG="django_sse.log.memory.MemoryLog")
    log = get_log()
    assert isinstance(log, MemoryLog)
    log.clear()
    yield log
    log.clear()
