"""`tests/unit/notifiers/test_contract.py` with PostgreSQL and Redis."""

from tests.unit.notifiers.test_contract import *  # noqa: F403
