"""`tests/unit/runs/test_leases.py` on PostgreSQL and MariaDB."""

from tests.unit.runs.test_leases import *  # noqa: F403
