"""`tests/unit/log/test_attempts.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_attempts import *  # noqa: F403
