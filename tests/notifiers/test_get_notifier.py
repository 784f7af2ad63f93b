from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_sse import conf
from django_sse.notifiers import get_notifier, notifier_path
from django_sse.notifiers.database import DatabaseNotifier
from django_sse.notifiers.local import LocalNotifier


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("local", LocalNotifier),
        ("database", DatabaseNotifier),
        ("django_sse.notifiers.local.LocalNotifier", LocalNotifier),
    ],
)
def test_a_notifier_is_named_or_pointed_at(name: str, kind: type, settings: Any) -> None:
    settings.DJANGO_SSE = {"NOTIFIER": name}
    assert type(get_notifier()) is kind


def test_by_default_the_database_is_looked_at(settings: Any) -> None:
    settings.DJANGO_SSE = {}
    assert type(get_notifier()) is DatabaseNotifier


def test_a_log_in_memory_has_nothing_to_tell_other_processes(settings: Any) -> None:
    settings.DJANGO_SSE = {"LOG": "django_sse.log.memory.MemoryLog"}
    assert type(get_notifier()) is LocalNotifier


def test_a_process_has_one_instance(settings: Any) -> None:
    settings.DJANGO_SSE = {"NOTIFIER": "local"}
    first = get_notifier()
    settings.DJANGO_SSE = {"NOTIFIER": "database"}
    assert get_notifier() is not first
    settings.DJANGO_SSE = {"NOTIFIER": "local", "HEARTBEAT": 1.0}
    assert get_notifier() is first


def test_the_path_is_known_without_importing_it() -> None:
    settings = conf.parse({"NOTIFIER": "project.carrier.Pigeon"})
    assert notifier_path(settings) == "project.carrier.Pigeon"


@pytest.mark.parametrize(
    "name", ["carrier pigeon", "django_sse.nothing", "django_sse.conf.Nothing"]
)
def test_what_cannot_be_imported_is_said_with_the_names_that_are_known(
    name: str, settings: Any
) -> None:
    settings.DJANGO_SSE = {"NOTIFIER": name}
    with pytest.raises(ImproperlyConfigured, match="auto, local, database"):
        get_notifier()


@pytest.mark.parametrize("name", ["django_sse.conf.Settings", "django_sse.conf.current"])
def test_what_is_no_notifier_is_said(name: str, settings: Any) -> None:
    settings.DJANGO_SSE = {"NOTIFIER": name}
    with pytest.raises(ImproperlyConfigured, match="is not a Notifier"):
        get_notifier()
