"""Wake-ups between processes. A wake-up is a hint: a lost one costs time, never an event."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_type_hints

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import connections

from django_sse import conf, constants
from django_sse.notifiers.base import Notifier, Wakeup
from django_sse.process.lifecycle import Order, in_forked_child

__all__ = ["Notifier", "Wakeup"]

_NAMES = {
    "local": "django_sse.notifiers.local.LocalNotifier",
    "database": "django_sse.notifiers.database.DatabaseNotifier",
    "postgres": "django_sse.notifiers.postgres.PostgresNotifier",
    "channel_layer": "django_sse.notifiers.channel_layer.ChannelLayerNotifier",
}
_MEMORY_LOG = "django_sse.log.memory.MemoryLog"
_SETTING = conf.item(conf.NAME, "NOTIFIER")
_OPTIONS = conf.item(_SETTING, "OPTIONS")


def notifier_path(settings: conf.Settings) -> str:
    """The dotted path that ``NOTIFIER`` stands for; what ``auto`` means is decided here."""
    backend = settings.NOTIFIER.BACKEND
    name = _auto(settings) if backend == "auto" else backend
    return _NAMES.get(name, name)


def _auto(settings: conf.Settings) -> str:
    """The best notifier by configuration. Nothing is connected to find out.

    Raises ``ImproperlyConfigured`` for OPTIONS: they belong to one notifier.
    """
    if settings.NOTIFIER.OPTIONS:
        raise ImproperlyConfigured(
            f'{_OPTIONS}: the BACKEND "auto" takes none. Name the BACKEND that they are for.'
        )
    if constants.LOG == _MEMORY_LOG:
        # No other process can read a log in this process's memory.
        return "local"
    if _has_channel_layer():
        return "channel_layer"
    return "postgres" if _can_listen(settings.DATABASE) else "database"


def _has_channel_layer() -> bool:
    if "default" not in (getattr(django_settings, "CHANNEL_LAYERS", None) or {}):
        return False
    from django_sse.notifiers.channel_layer import crosses_processes

    return crosses_processes("default")


def _can_listen(alias: str) -> bool:
    from django_sse.notifiers.postgres import behind_a_pooler, has_psycopg

    if alias not in connections or connections[alias].vendor != "postgresql":
        return False
    return has_psycopg() and not behind_a_pooler(alias)


def _make(path: str, options: Mapping[str, Any]) -> Notifier:
    is_ours = path in _NAMES.values()
    hint = "" if is_ours else f". {_known_names(path)}"
    kind = conf.load(_SETTING, path, Notifier, hint)  # type: ignore[type-abstract]
    _check_options(kind, options, is_ours=is_ours)
    _check_complete(kind, options)
    try:
        return kind(**options)
    except Exception as error:
        if is_ours:
            raise
        raise ImproperlyConfigured(
            f"{_SETTING}: {path!r} cannot be made: {type(error).__name__}: {error}"
        ) from error


def _known_names(path: str) -> str:
    names = f"Known names: {', '.join(['auto', *_NAMES])}."
    close = get_close_matches(path.lower(), ["auto", *_NAMES], n=1)
    return f"Did you mean {close[0]!r}? {names}" if close else names


def _check_options(kind: type[Notifier], options: Mapping[str, Any], *, is_ours: bool) -> None:
    """Raise ``ImproperlyConfigured`` for a keyword that the constructor does not take, and for a
    value of the wrong type where the constructor is one of this library's."""
    parameters = inspect.signature(kind).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    hints = get_type_hints(kind.__init__) if is_ours else {}
    for name, value in options.items():
        here = conf.item(_OPTIONS, name)
        if name not in parameters:
            written = {each: conf.item(_OPTIONS, each) for each in parameters}
            hint = conf.did_you_mean(str(name).lower(), written, parameters)
            raise ImproperlyConfigured(f"{here}: {kind.__name__} does not take it. {hint}")
        if name in hints and (wrong := conf.wrong_value(here, value, hints[name])):
            raise ImproperlyConfigured(wrong)


def _check_complete(kind: type[Notifier], options: Mapping[str, Any]) -> None:
    """Raise ``ImproperlyConfigured`` for keywords of the constructor that are missing."""
    missing = ", ".join(
        f'"{each.name}"'
        for each in inspect.signature(kind).parameters.values()
        if each.default is each.empty
        and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        and each.name not in options
    )
    if missing:
        raise ImproperlyConfigured(f"{_OPTIONS}: {kind.__name__} also needs {missing}.")


# One for each configuration that was in force: settings change in tests only.
_made: list[tuple[str, Mapping[str, Any], Notifier]] = []
# The last notifier, after the objects that it was chosen by. They hardly ever change, and each
# publish asks.
_last: tuple[conf.Settings, str, object, Notifier] | None = None


def get_notifier() -> Notifier:
    """The notifier in force; a process has one instance for each configuration."""
    global _last  # noqa: PLW0603 - one a process
    settings, log, last = conf.current(), constants.LOG, _last
    database = connections.databases.get(settings.DATABASE)
    if last and last[0] is settings and last[1] is log and last[2] is database:
        return last[3]
    notifier = _find(settings)
    _last = settings, log, database, notifier
    return notifier


def _find(settings: conf.Settings) -> Notifier:
    path, options = notifier_path(settings), settings.NOTIFIER.OPTIONS
    for made_path, made_options, notifier in _made:
        if made_path == path and made_options == options:
            return notifier
    notifier = _make(path, options)
    _made.append((path, options, notifier))
    return notifier


def _forget(**kwargs: Any) -> None:
    """Any setting may have changed, ``CHANNEL_LAYERS`` for one."""
    global _last  # noqa: PLW0603
    _last = None


setting_changed.connect(_forget, dispatch_uid="django_sse.notifiers")


@in_forked_child(Order.NOTIFIER)
def _forget_after_fork() -> None:
    _forget()
    _made.clear()
