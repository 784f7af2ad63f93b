"""Servers that the tests of one module share, and the notes that their generators leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count

import pytest

from tests.requirements import require
from tests.servers import KINDS, TEST_SITE, Server
from tests.servers_suite.notes import Notes

# What is to come before the headers has time enough, however busy the machine is; a module that
# wants the headers without it has OPTIONS of its own.
OPTIONS = {"HEARTBEAT": 0.1, "OPEN_TIMEOUT": 30.0, "RETRY": 3000, "RETRY_JITTER": 4000}

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
