"""`tests/unit/log/test_contract.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_contract import *  # noqa: F403
