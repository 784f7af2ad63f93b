"""`tests/unit/log/test_reads.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_reads import *  # noqa: F403
