"""`tests/unit/log/test_batch.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_batch import *  # noqa: F403
