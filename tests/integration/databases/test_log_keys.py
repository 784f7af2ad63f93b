"""`tests/unit/log/test_keys.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_keys import *  # noqa: F403
