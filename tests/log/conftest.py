"""The logs under test, and a second database beside the default one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_sse.log import get_log
from django_sse.log.memory import MemoryLog
from django_sse.log.model import ModelLog


@pytest.fixture
def model_log(transactional_db: None) -> ModelLog:
    log = get_log()
    assert isinstance(log, ModelLog)
    return log


@pytest.fixture
def memory_log(transactional_db: None, settings: Any) -> Iterator[MemoryLog]:
    settings.DJANGO_SSE = {**settings.DJANGO_SSE, "LOG": "django_sse.log.memory.MemoryLog"}
    log = get_log()
    assert isinstance(log, MemoryLog)
    log.clear()
    yield log
    log.clear()
