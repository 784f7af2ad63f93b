"""The settings of the suite's servers, as they are handed to another process."""

from __future__ import annotations

from tests.integration.servers.notes import Notes
from tests.options import environ

# What is to come before the headers has time enough, however busy the machine is; a module that
# wants the headers without it has OPTIONS of its own.
OPTIONS = {"HEARTBEAT": 0.1, "OPEN_TIMEOUT": 30.0, "RETRY": 3000, "RETRY_JITTER": 4000}


def environment(notes: Notes, **options: object) -> dict[str, str]:
    """For a server whose generators write to ``notes``; ``options`` go over those above."""
    return {
        "DJANGO_SSE_TEST_NOTES": str(notes.path),
        **environ(**OPTIONS | options),
    }
