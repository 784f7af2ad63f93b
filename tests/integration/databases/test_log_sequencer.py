"""`tests/unit/log/test_sequencer.py` on PostgreSQL and MariaDB."""

from tests.unit.log.test_sequencer import *  # noqa: F403
