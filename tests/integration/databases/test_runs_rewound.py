"""`tests/unit/runs/test_rewound.py` on PostgreSQL and MariaDB."""

from tests.unit.runs.test_rewound import *  # noqa: F403
