from __future__ import annotations

from typing import Any

import pytest

from django_sse.constants import LOG
from django_sse.log import EventLog, get_log
from django_sse.log.memory import MemoryLog
from django_sse.log.model import ModelLog
from tests.options import Overrides


def test_the_default_keeps_events_in_the_database() -> None:
    assert type(get_log()) is ModelLog


def test_there_is_one_of_each_in_a_process(settings: Any, constants: Overrides) -> None:
    model_log = get_log()
    constants(LOG="django_sse.log.memory.MemoryLog")
    memory_log = get_log()
    assert type(memory_log) is MemoryLog
    assert get_log() is memory_log
    constants(LOG=LOG)
    assert get_log() is model_log


def test_a_test_may_bring_its_own(constants: Overrides) -> None:
    constants(LOG=f"{__name__}.OwnLog")
    assert type(get_log()) is OwnLog


class OwnLog(MemoryLog):
    """A test's."""


def test_what_lacks_a_method_is_no_log() -> None:
    class Half(EventLog):
        def in_transaction(self) -> bool:
            return False

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]
