"""Servers that the tests of one module share, and the notes that their generators leave."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.integration.servers.environment import environment
from tests.integration.servers.notes import Notes
from tests.requirements import require
from tests.servers import KINDS, TEST_SITE, Server

_numbers = count()


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Notes:
    """What the generators of ``server`` write down."""
    return Notes(tmp_path_factory.mktemp("notes") / "notes")


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, notes: Notes) -> Iterator[Server]:
    """One server a module and kind; `kinds.on` names the kinds. The module's ``OPTIONS`` are its
    ``DJANGO_SSE``, its ``SITE`` the project to serve."""
    kind: str = request.param
    require(*KINDS[kind].needs)
    env = environment(notes, **getattr(request.module, "OPTIONS", {}))
    with Server(kind, site=getattr(request.module, "SITE", TEST_SITE), env=env) as running:
        yield running


@pytest.fixture
def name() -> str:
    """A name that no other test of this process uses: for a channel, a gate, a note."""
    return f"name-{next(_numbers)}"
