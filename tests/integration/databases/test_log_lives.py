"""`tests/unit/log/test_lives.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_lives import *  # noqa: F403
