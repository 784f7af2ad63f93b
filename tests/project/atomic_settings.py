"""`tests.settings`, with a transaction round every view."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES as _DATABASES

DATABASES = {"default": {**_DATABASES["default"], "ATOMIC_REQUESTS": True}}
