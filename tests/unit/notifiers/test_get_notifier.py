from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from django_sse import conf, notifiers
from django_sse.notifiers import Notifier, get_notifier, notifier_path, postgres
from django_sse.notifiers.channel_layer import ChannelLayerNotifier
from django_sse.notifiers.database import DatabaseNotifier
from django_sse.notifiers.local import LocalNotifier
from django_sse.notifiers.postgres import PostgresNotifier
from tests.options import Overrides
from tests.unit.log.support import another_database


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("local", LocalNotifier),
        ("database", DatabaseNotifier),
        ("postgres", PostgresNotifier),
        ("channel_layer", ChannelLayerNotifier),
        ("django_sse.notifiers.local.LocalNotifier", LocalNotifier),
    ],
)
def test_a_notifier_is_named_or_pointed_at(name: str, kind: type, settings: Any) -> None:
    settings.DJANGO_SSE = {"NOTIFIER": name}
    assert type(get_notifier()) is kind


REDIS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {}}}
IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.fixture
def chosen(settings: Any) -> Callable[..., type]:
    """What ``auto`` is, with these values in ``DJANGO_SSE``, layers and log's database."""

    def choose(layers: Any = None, database: Any = None, **values: Any) -> type:
        settings.CHANNEL_LAYERS = layers or {}
        with another_database("log", **(database or SQLITE)) as alias:
            settings.DJANGO_SSE = {"DATABASE": alias, **values}
            found = type(get_notifier())
            assert connections[alias].connection is None
        return found

    return choose


SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": "x.sqlite3"}
POSTGRES = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "HOST": "192.0.2.1"}


def test_by_default_the_database_is_looked_at(chosen: Callable[..., type]) -> None:
    assert chosen() is DatabaseNotifier


def test_a_channel_layer_that_crosses_processes_comes_first(chosen: Callable[..., type]) -> None:
    assert chosen(REDIS) is ChannelLayerNotifier
    assert chosen(REDIS, POSTGRES) is ChannelLayerNotifier
    assert chosen({"other": REDIS["default"]}) is DatabaseNotifier


def test_a_layer_in_memory_or_a_broken_one_is_not_taken(chosen: Callable[..., type]) -> None:
    assert chosen(IN_MEMORY) is DatabaseNotifier
    assert chosen({"default": {"BACKEND": "no.such.Layer"}}) is DatabaseNotifier


def test_then_comes_postgresql(
    chosen: Callable[..., type], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(IN_MEMORY, POSTGRES) is PostgresNotifier
    monkeypatch.setattr(postgres, "has_psycopg", lambda: False)
    assert chosen(None, POSTGRES) is DatabaseNotifier


def test_through_a_pooler_in_transaction_mode_nobody_can_listen(
    chosen: Callable[..., type],
) -> None:
    behind = {**POSTGRES, "DISABLE_SERVER_SIDE_CURSORS": True}
    assert chosen(None, behind) is DatabaseNotifier


def test_a_database_that_is_not_there_is_for_the_checks(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {}
    settings.DJANGO_SSE = {"DATABASE": "no such database"}
    assert type(get_notifier()) is DatabaseNotifier


def test_a_log_in_memory_has_nothing_to_tell_other_processes(
    settings: Any, constants: Overrides
) -> None:
    settings.CHANNEL_LAYERS = REDIS
    constants(LOG="django_sse.log.memory.MemoryLog")
    assert type(get_notifier()) is LocalNotifier


def test_a_process_has_one_instance(settings: Any) -> None:
    settings.DJANGO_SSE = {"NOTIFIER": "local"}
    first = get_notifier()
    settings.DJANGO_SSE = {"NOTIFIER": "database"}
    assert get_notifier() is not first
    settings.DJANGO_SSE = {"NOTIFIER": "local", "STREAMS": {"HEARTBEAT": 1.0}}
    assert get_notifier() is first


class Pigeon(LocalNotifier):
    """A project's own notifier with options."""

    def __init__(self, name: str, speed: float = 1.0) -> None:
        self.name, self.speed = name, speed


class Flock(LocalNotifier):
    """A project's own notifier that takes any option."""

    def __init__(self, **birds: Any) -> None:
        self.birds = birds


class Dove(LocalNotifier):
    """A project's own notifier that cannot do without its options."""

    def __init__(self, name: str, *, speed: float = 1.0, home: str) -> None: ...


class Ostrich(LocalNotifier):
    """A project's own notifier whose constructor fails."""

    def __init__(self, speed: float) -> None:
        raise KeyError(speed)


class Egg(Notifier):
    """A project's own notifier without its methods."""


def with_options(kind: type | str, **options: Any) -> dict[str, Any]:
    backend = kind if isinstance(kind, str) else f"{__name__}.{kind.__name__}"
    return {"NOTIFIER": {"BACKEND": backend, "OPTIONS": options}}


def test_options_are_keyword_arguments_of_the_constructor(settings: Any) -> None:
    settings.DJANGO_SSE = with_options(Pigeon, name="Cher Ami", speed=25)
    pigeon = get_notifier()
    assert isinstance(pigeon, Pigeon)
    assert (pigeon.name, pigeon.speed) == ("Cher Ami", 25)
    settings.DJANGO_SSE = with_options(Flock, doves=2)
    flock = get_notifier()
    assert isinstance(flock, Flock)
    assert flock.birds == {"doves": 2}


def test_other_options_are_another_instance(settings: Any) -> None:
    settings.DJANGO_SSE = with_options(Pigeon, name="Cher Ami")
    first = get_notifier()
    settings.DJANGO_SSE = with_options(Pigeon, name="Winkie")
    assert get_notifier() is not first
    settings.DJANGO_SSE = with_options(Pigeon, name="Cher Ami")
    assert get_notifier() is first


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        ("postgres", {"DNS": "x"}, r'\["DNS"\]: PostgresNotifier .*Did you mean .*\["dsn"\]\?'),
        ("database", {"pol_interval": 1}, r'Did you mean .*\["OPTIONS"\]\["poll_interval"\]\?'),
        ("database", {"alias": "x"}, r"Known: poll_interval, head_interval\."),
        ("local", {"alias": "x"}, r"There are none\."),
        ("database", {"poll_interval": "1"}, r'\["poll_interval"\] is a str: it must be float'),
        ("database", {"poll_interval": -1}, r"must not be negative"),
        ("postgres", {"dsn": ["s3cret"]}, r'\["dsn"\] is a list: it must be str or None\.'),
        ("channel_layer", {"alias": None}, r'\["alias"\] is a NoneType: it must be str\.'),
        ("auto", {"dsn": "x"}, r'NOTIFIER"\]\["OPTIONS"\].*auto.*Name the BACKEND'),
        (Pigeon, {"nane": "Winkie"}, r'Did you mean .*\["name"\]\?'),
        (Dove, {}, r'NOTIFIER"\]\["OPTIONS"\].*Dove.*needs.*"name", "home"'),
        (Dove, {"home": "Ararat"}, r'Dove.*needs.*"name"\.'),
    ],
)
def test_an_option_that_is_wrong_is_refused(
    kind: type | str, options: dict[str, Any], error: str, settings: Any
) -> None:
    settings.DJANGO_SSE = with_options(kind, **options)
    with pytest.raises(ImproperlyConfigured, match=error) as raised:
        get_notifier()
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        (Ostrich, {"speed": 70.0}, r"KeyError: 70\.0"),
        (Egg, {}, r"TypeError: .*abstract"),
        (Flock, {1: 2}, r"TypeError: .*must be strings"),
    ],
)
def test_a_notifier_that_cannot_be_made_is_named_with_its_setting(
    kind: type, options: dict[Any, Any], error: str, settings: Any
) -> None:
    settings.DJANGO_SSE = with_options(kind)
    settings.DJANGO_SSE["NOTIFIER"]["OPTIONS"] = options
    with pytest.raises(
        ImproperlyConfigured, match=rf'DJANGO_SSE\["NOTIFIER"\]: .*{kind.__name__}.*{error}'
    ) as raised:
        get_notifier()
    assert raised.value.__cause__ is not None


def test_without_channels_the_extra_is_named(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "channels.layers", None)
    monkeypatch.delitem(sys.modules, ChannelLayerNotifier.__module__)
    settings.CHANNEL_LAYERS = REDIS
    for name in ("auto", "channel_layer"):
        monkeypatch.setattr(notifiers, "_made", [])
        settings.DJANGO_SSE = {"NOTIFIER": name}
        with pytest.raises((ImportError, ImproperlyConfigured), match=r"event-streams\[redis\]\"$"):
            get_notifier()


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
    with pytest.raises(
        ImproperlyConfigured, match="auto, local, database, postgres, channel_layer"
    ):
        get_notifier()


@pytest.mark.parametrize(
    ("name", "meant"), [("postgress", "postgres"), ("Database", "database"), ("redis", None)]
)
def test_a_similar_name_is_said(name: str, meant: str | None, settings: Any) -> None:
    settings.DJANGO_SSE = {"NOTIFIER": name}
    with pytest.raises(ImproperlyConfigured, match="Known names: auto") as raised:
        get_notifier()
    assert (f"Did you mean '{meant}'?" in str(raised.value)) is (meant is not None)


@pytest.mark.parametrize("name", ["django_sse.conf.Settings", "django_sse.conf.current"])
def test_what_is_no_notifier_is_said(name: str, settings: Any) -> None:
    settings.DJANGO_SSE = {"NOTIFIER": name}
    with pytest.raises(ImproperlyConfigured, match="is not a Notifier"):
        get_notifier()
