"""`tests/unit/log/test_trimming.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_trimming import *  # noqa: F403
