"""`tests/unit/log/test_statements.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_statements import *  # noqa: F403
