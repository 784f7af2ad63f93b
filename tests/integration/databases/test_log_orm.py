"""`tests/unit/log/test_orm.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_orm import *  # noqa: F403
