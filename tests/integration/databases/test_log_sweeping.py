"""`tests/unit/log/test_sweeping.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_sweeping import *  # noqa: F403
