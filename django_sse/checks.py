"""System checks of the project's settings. They open no database and reach no other server, except
those that only ``manage.py check --deploy`` runs.

``manage.py check`` runs them, as do most commands; ``manage.py check --tag django_sse`` runs only
them.

Errors

==================== ===============================================================================
``django_sse.E001``  ``DJANGO_SSE`` is not a dict
``django_sse.E002``  a name that is not a setting, in ``DJANGO_SSE`` or in one of its groups
``django_sse.E003``  a value of the wrong type, or negative
``django_sse.E004``  a value out of range
``django_sse.E005``  ``DATABASE`` has ``AUTOCOMMIT`` False: there are no hooks after a commit
``django_sse.E006``  ``NOTIFIER`` cannot be imported, is not a ``Notifier``, or does not take its
                     ``OPTIONS``
``django_sse.E007``  ``JSON_ENCODER`` cannot be imported, or is not a ``JSONEncoder``
``django_sse.E008``  ``DATABASE`` is not in ``DATABASES``
``django_sse.E009``  ``ENVIRONMENT`` has characters that a group or a NOTIFY channel cannot have
``django_sse.E010``  NOTIFIER ``postgres`` without psycopg 3
``django_sse.E011``  NOTIFIER ``postgres`` with a log elsewhere and no ``dsn``
``django_sse.E012``  NOTIFIER ``channel_layer``, and its ``alias`` is not in ``CHANNEL_LAYERS`` or
                     cannot be imported
``django_sse.E013``  libpq does not understand the ``dsn`` of NOTIFIER ``postgres``
``django_sse.E014``  ``RUNS["ACCESS"]`` or ``RUNS["OWNER"]`` cannot be imported, is not callable,
                     or does not take its arguments
==================== ===============================================================================

Warnings

==================== ===============================================================================
``django_sse.W001``  a log on SQLite without immediate transactions or without WAL
``django_sse.W002``  the notifier's transport cannot be reached (``check --deploy``)
``django_sse.W003``  ``MAX_EVENT_BYTES`` is not well below ``RING_BYTES``
``django_sse.W004``  a log on SQLite in memory (``DatabaseNotifier.check``)
``django_sse.W005``  ``HEARTBEAT`` is too slow for common proxies
``django_sse.W006``  NOTIFIER ``postgres`` through a pooler in transaction mode
``django_sse.W007``  NOTIFIER ``channel_layer`` with a layer in memory
==================== ===============================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections

from django_sse import conf
from django_sse.log import get_log
from django_sse.log.model import ModelLog
from django_sse.notifiers import get_notifier
from django_sse.notifiers.payload import ENVIRONMENT
from django_sse.runs.owners import access_hook, owner_hook
from django_sse.wire.event import MAX_RETRY

TAG = "django_sse"

# nginx's proxy_read_timeout, and what many load balancers have.
_PROXY_TIMEOUT = 60
# A ring that holds fewer of the largest events is behind as soon as two of them arrive together.
_EVENTS_IN_A_RING = 2
# At zero these would spin, nothing would ever be read, or every client would be dropped.
_ABOVE_ZERO: tuple[tuple[str, ...], ...] = (
    ("SAFETY_INTERVAL",),
    ("STREAMS", "HEARTBEAT"),
    ("STREAMS", "SEND_TIMEOUT"),
    ("LIMITS", "MAX_EVENT_BYTES"),
    ("LIMITS", "RING_BYTES"),
    ("LIMITS", "RING_EVENTS"),
    ("LIMITS", "SYNC_GENERATORS"),
    ("LIMITS", "RUNS_PER_OWNER"),
    ("LIMITS", "RUNS_PER_PROCESS"),
    ("LIMITS", "RUN_SECONDS"),
    ("LIMITS", "RUN_EVENTS"),
    ("LIMITS", "RUN_BYTES"),
    ("RUNS", "LEASE"),
    ("RUNS", "UNWATCHED"),
)
# What the column of a run's slot holds on every database.
_MOST_SLOTS = 32767
_WAL = re.compile(r"journal_mode\s*(?:=|\()\s*['\"]?wal\b", re.IGNORECASE)


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """All problems of ``settings.DJANGO_SSE``; warnings only where there is no error."""
    if not _concerns_us(app_configs):
        return []
    values = conf.written()
    found: list[CheckMessage] = [
        Error(message, hint=hint, id=f"django_sse.{id}")
        for id, message, hint in conf.problems(values)
    ]
    if not found:
        settings = conf.parse(values)
        found = [*_ranges(settings), *_backends(), *_alias(settings)]
    if not found:
        found = [*_proportions(settings), *_sqlite(settings.DATABASE)]
        found += get_notifier().check()
    return found


def check_reachable(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whether the notifier reaches what it needs; asked only where the settings are right."""
    if not _concerns_us(app_configs):
        return []
    if any(message.is_serious() for message in check_settings(app_configs)):
        return []
    return get_notifier().check_reachable()


def _concerns_us(app_configs: Sequence[AppConfig] | None) -> bool:
    return app_configs is None or "django_sse" in {app.name for app in app_configs}


def _ranges(settings: conf.Settings) -> Iterator[CheckMessage]:
    for names in _ABOVE_ZERO:
        if not _value(settings, names):
            yield Error(
                f"{_place(*names)} must be more than zero.",
                hint=f"The default is {_value(conf.Settings(), names)!r}.",
                id="django_sse.E004",
            )
    if settings.LIMITS.RUNS_PER_OWNER > _MOST_SLOTS:
        yield Error(
            f"{_place('LIMITS', 'RUNS_PER_OWNER')} is {settings.LIMITS.RUNS_PER_OWNER}: at most "
            f"{_MOST_SLOTS}.",
            hint=f"The default is {conf.Limits().RUNS_PER_OWNER}.",
            id="django_sse.E004",
        )
    if settings.STREAMS.RETRY + settings.STREAMS.RETRY_JITTER > MAX_RETRY:
        yield Error(
            f"RETRY and RETRY_JITTER together are over {MAX_RETRY} milliseconds, the longest "
            "timer of a browser.",
            hint="Both are milliseconds.",
            id="django_sse.E004",
        )
    if not ENVIRONMENT.fullmatch(settings.ENVIRONMENT):
        yield Error(
            f"{_place('ENVIRONMENT')} is {settings.ENVIRONMENT!r}: it may have at most 40 ASCII "
            "letters, digits, underscores, periods and hyphens.",
            hint='For example "staging".',
            id="django_sse.E009",
        )


def _value(settings: conf.Settings, names: Sequence[str]) -> Any:
    return reduce(getattr, names, settings)


def _place(*names: str) -> str:
    return reduce(conf.item, names, conf.NAME)


def _backends() -> Iterator[CheckMessage]:
    """Check that the dotted paths can be imported. The exceptions name the setting."""
    for check, hint, id in (
        (get_notifier, "Notifiers are in docs/notifiers.md, OPTIONS in docs/settings.md.", "E006"),
        (conf.json_encoder, "It needs the dotted path of a class.", "E007"),
        (access_hook, "It needs the dotted path of a function.", "E014"),
        (owner_hook, "It needs the dotted path of a function.", "E014"),
    ):
        if error := _raised(check):
            yield Error(str(error), hint=hint, id=f"django_sse.{id}")


def _raised(check: Callable[[], object]) -> Exception | None:
    """Any exception: a project's backend may raise what it likes when it is made."""
    try:
        check()
    except Exception as error:
        return error
    return None


def _alias(settings: conf.Settings) -> Iterator[CheckMessage]:
    if settings.DATABASE not in connections:
        yield Error(
            f'{conf.NAME}["DATABASE"] is {settings.DATABASE!r}, which is not in DATABASES.',
            hint=f"There are: {', '.join(sorted(connections))}.",
            id="django_sse.E008",
        )
    elif not connections[settings.DATABASE].settings_dict["AUTOCOMMIT"]:
        yield Error(
            f"DATABASES[{settings.DATABASE!r}] has AUTOCOMMIT False: Django runs no hook after a "
            "commit there, so nothing can be published.",
            hint=f'Remove it, or set {conf.NAME}["DATABASE"] to another alias, of the same '
            "database if you like, that has autocommit on.",
            id="django_sse.E005",
        )


def _proportions(settings: conf.Settings) -> Iterator[CheckMessage]:
    limits, heartbeat = settings.LIMITS, settings.STREAMS.HEARTBEAT
    if limits.MAX_EVENT_BYTES * _EVENTS_IN_A_RING > limits.RING_BYTES:
        yield Warning(
            f"MAX_EVENT_BYTES ({limits.MAX_EVENT_BYTES}) is more than half of RING_BYTES "
            f"({limits.RING_BYTES}): a single event can push all others out of a channel's ring, "
            "and every client then reads them from the log.",
            hint="Store large data elsewhere and publish a reference to it, or raise RING_BYTES.",
            id="django_sse.W003",
        )
    if heartbeat >= _PROXY_TIMEOUT:
        yield Warning(
            f"HEARTBEAT is {heartbeat:g} s: proxies cut a stream that is silent for "
            f"{_PROXY_TIMEOUT} s.",
            hint="15 s is safe for all known proxies and clients.",
            id="django_sse.W005",
        )


def _sqlite(alias: str) -> Iterator[CheckMessage]:
    connection = connections[alias]
    if connection.vendor != "sqlite" or not isinstance(get_log(), ModelLog):
        return
    options = connection.settings_dict["OPTIONS"]
    missing = []
    if str(options.get("transaction_mode")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        missing.append(
            'immediate transactions (a write may fail with "database is locked" while another '
            "process writes)"
        )
    in_memory = connection.is_in_memory_db()  # type: ignore[attr-defined]
    if not in_memory and not _WAL.search(str(options.get("init_command"))):
        missing.append("WAL (readers and publishers wait for each other)")
    if missing:
        yield Warning(
            f"The event log's SQLite database {alias!r} does not ask for {' and '.join(missing)}.",
            hint="Add to the end of the settings:\n"
            "    from django_sse.sqlite import SQLITE_OPTIONS\n"
            f'    DATABASES["{alias}"]["OPTIONS"] = SQLITE_OPTIONS',
            id="django_sse.W001",
        )
