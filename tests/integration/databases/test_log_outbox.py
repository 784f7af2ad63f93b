"""`tests/unit/log/test_outbox.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_outbox import *  # noqa: F403
