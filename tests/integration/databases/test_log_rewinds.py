"""`tests/unit/log/test_rewinds.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_rewinds import *  # noqa: F403
