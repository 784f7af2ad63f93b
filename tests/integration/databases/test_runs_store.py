"""`tests/unit/runs/test_store.py` on PostgreSQL and MariaDB."""

from tests.unit.runs.test_store import *  # noqa: F403
