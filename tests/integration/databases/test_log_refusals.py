"""`tests/unit/log/test_refusals.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_refusals import *  # noqa: F403
