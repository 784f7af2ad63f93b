from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_sse.log import EventLog, get_log
from django_sse.log.memory import MemoryLog
from django_sse.log.model import ModelLog


def test_the_default_keeps_events_in_the_database(settings: Any) -> None:
    settings.DJANGO_SSE = {}
    assert type(get_log()) is ModelLog


def test_there_is_one_of_each_in_a_process(settings: Any) -> None:
    model_log = get_log()
    settings.DJANGO_SSE = {"LOG": "django_sse.log.memory.MemoryLog"}
    memory_log = get_log()
    assert type(memory_log) is MemoryLog
    assert get_log() is memory_log
    settings.DJANGO_SSE = {}
    assert get_log() is model_log


def test_a_project_may_bring_its_own(settings: Any) -> None:
    settings.DJANGO_SSE = {"LOG": f"{__name__}.OwnLog"}
    assert type(get_log()) is OwnLog


class OwnLog(MemoryLog):
    """A project's."""


@pytest.mark.parametrize("path", ["no.such.Log", "django_sse.log.memory.NoLog", "NoLog", ""])
def test_a_path_that_leads_nowhere_names_the_setting(settings: Any, path: str) -> None:
    settings.DJANGO_SSE = {"LOG": path}
    with pytest.raises(ImproperlyConfigured, match=r'DJANGO_SSE\["LOG"\]: cannot import'):
        get_log()


@pytest.mark.parametrize("path", ["datetime.datetime", "django_sse.log.get_log"])
def test_what_is_no_log_is_refused(settings: Any, path: str) -> None:
    settings.DJANGO_SSE = {"LOG": path}
    with pytest.raises(ImproperlyConfigured, match="is not an EventLog"):
        get_log()


def test_what_lacks_a_method_is_no_log() -> None:
    class Half(EventLog):
        def in_transaction(self) -> bool:
            return False

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]
