"""Servers that the tests of one module share, and the notes that their generators leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count

import pytest

from tests.requirements import require
from tests.servers import KINDS, Server
from tests.servers_suite.notes import Notes

OPTIONS = {"HEARTBEAT": 0.2, "OPEN_TIMEOUT": 0.5, "RETRY": 3000, "RETRY_JITTER": 4000}

_numbers = count()


def environment(notes: Notes, **options: object) -> dict[str, str]:
    """For a server whose generators write to ``notes``; ``options`` go over those above."""
    return {
        "DJANGO_SSE_TEST_NOTES": str(notes.path),
        "DJANGO_SSE_TEST_OPTIONS": json.dumps(OPTIONS | options),
    }


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Notes:
    """What the generators of ``server`` write down."""
    return Notes(tmp_path_factory.mktemp("notes") / "notes")


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, notes: Notes) -> Iterator[Server]:
    """One server a module and kind; name the kinds with ``parametrize(..., indirect=True)``."""
    kind: str = request.param
    require(*KINDS[kind].needs)
    with Server(kind, env=environment(notes)) as running:
        yield running


@pytest.fixture
def name() -> str:
    """A name that no other test of this process uses: for a channel, a gate, a note."""
    return f"name-{next(_numbers)}"
