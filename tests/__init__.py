"""The suite, in three rooms.

`unit` needs Python alone. `integration` starts servers, browsers and SDKs, and talks to databases
and Redis; a test whose requirement is missing is skipped (`tests/requirements.py`). `soak` takes
minutes and runs in `.ci/full` only.

`DJANGO_SSE_FULL=1`, as `.ci/full` sets it, raises the budgets (examples, events, seconds), takes
every server where one of a kind stands for the others, and runs what `in_full` marks
(`tests/requirements.py`).
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

FULL = os.environ.get("DJANGO_SSE_FULL") == "1"
"""Whether the full budgets are asked for."""
