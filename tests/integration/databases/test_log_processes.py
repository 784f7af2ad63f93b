"""`tests/unit/log/test_processes.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_processes import *  # noqa: F403
