"""`tests/unit/log/test_model.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_model import *  # noqa: F403
