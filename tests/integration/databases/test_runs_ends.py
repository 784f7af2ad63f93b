"""`tests/unit/runs/test_ends.py` on PostgreSQL and MariaDB."""

from tests.unit.runs.test_ends import *  # noqa: F403
