"""A site with its web server, its queues and their workers, over each database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import FULL, databases
from tests.integration.workers.place import Place
from tests.requirements import require
from tests.services import RedisServer


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """The URL of a Redis that nobody else uses."""
    require("redis-server")
    with RedisServer() as redis:
        yield f"redis://{redis.place}"


# Of the module, so that the tests of one site stand together and its processes start once.
@pytest.fixture(scope="module", params=["sqlite", "postgres"] if FULL else ["postgres"])
def place(
    request: pytest.FixtureRequest, broker: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """One a module and database: the server runs, workers are started when they are asked for."""
    require("uvicorn", "uvloop")
    directory: Path = tmp_path_factory.mktemp("workers")
    with ExitStack() as stack:
        url = ""
        if request.param == "postgres":
            require("postgres")
            url = stack.enter_context(databases.fresh(databases.POSTGRES_URL))
        # One database of Redis for each: no worker takes what is another's.
        own = f"{broker}/{1 if url else 0}"
        yield stack.enter_context(Place(directory, own, url))
