"""System checks of the project's settings; they open no database and reach no other server, save
what only ``manage.py check --deploy`` runs.

``manage.py check`` runs them, as do most commands; ``manage.py check --tag django_sse`` runs only
them.

Errors

==================== ===============================================================================
``django_sse.E001``  ``DJANGO_SSE`` is not a dict
``django_sse.E002``  a name that is not a setting
``django_sse.E003``  a value of the wrong type, or negative
``django_sse.E004``  a value out of range
``django_sse.E005``  ``LOG`` cannot be imported, or is no ``EventLog``
``django_sse.E006``  ``NOTIFIER`` cannot be imported, or is no ``Notifier``
``django_sse.E007``  ``JSON_ENCODER`` cannot be imported, or is no ``JSONEncoder``
``django_sse.E008``  ``DATABASE`` is not in ``DATABASES``
``django_sse.E009``  ``ENVIRONMENT`` has characters that a group or a NOTIFY channel cannot have
``django_sse.E010``  NOTIFIER ``postgres`` without psycopg 3
``django_sse.E011``  NOTIFIER ``postgres`` with a log elsewhere and no ``NOTIFIER_DSN``
``django_sse.E012``  NOTIFIER ``channel_layer``, and ``CHANNEL_LAYER`` is not in ``CHANNEL_LAYERS``
                     or cannot be imported
``django_sse.E013``  ``NOTIFIER_DSN`` is nothing that libpq understands
``django_sse.E014``  ``RUN_ACCESS`` cannot be imported, or is not callable
``django_sse.E015``  ``DATABASE`` has ``AUTOCOMMIT`` False: nobody is told of a commit
==================== ===============================================================================

Warnings

==================== ===============================================================================
``django_sse.W001``  a log on SQLite without immediate transactions
``django_sse.W002``  a log on SQLite without WAL
``django_sse.W003``  ``MAX_EVENT_BYTES`` is not well below ``RING_BYTES``
``django_sse.W004``  a log on SQLite in memory (``DatabaseNotifier.check``)
``django_sse.W005``  ``HEARTBEAT`` is too slow for common proxies
``django_sse.W006``  a ``MemoryLog`` with a notifier that crosses processes
``django_sse.W007``  NOTIFIER ``channel_layer`` with a layer in memory
``django_sse.W008``  NOTIFIER ``postgres`` through a pooler in transaction mode
``django_sse.W009``  what NOTIFIER needs is not reachable (``check --deploy``)
==================== ===============================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from django_sse import conf
from django_sse.log import get_log
from django_sse.log.memory import MemoryLog
from django_sse.log.model import ModelLog
from django_sse.notifiers import get_notifier
from django_sse.notifiers.payload import ENVIRONMENT
from django_sse.runs.owners import access_hook
from django_sse.wire.event import MAX_RETRY

TAG = "django_sse"

# nginx's proxy_read_timeout, and what many load balancers have.
_PROXY_TIMEOUT = 60
# A ring that holds fewer of the largest events is behind as soon as two of them arrive together.
_EVENTS_IN_A_RING = 2
# At zero these would spin, nothing would ever be read, or every client would be dropped.
_ABOVE_ZERO = (
    "HEARTBEAT",
    "POLL_INTERVAL",
    "HEAD_INTERVAL",
    "SAFETY_INTERVAL",
    "DATABASE_THREADS",
    "RING_BYTES",
    "RING_EVENTS",
    "WRITE_BYTES",
    "SEND_TIMEOUT",
    "SYNC_GENERATORS",
    "PAGE_EVENTS",
    "MAX_EVENT_BYTES",
    "RUN_LEASE",
    "RUN_UNWATCHED",
    "RUNS_PER_OWNER",
)
# What the column of a run's slot holds on every database.
_MOST_SLOTS = 32767
_WAL = re.compile(r"journal_mode\s*(?:=|\()\s*['\"]?wal\b", re.IGNORECASE)


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """All problems of ``settings.DJANGO_SSE``; warnings only where there is no error."""
    if not _concerns_us(app_configs):
        return []
    values = getattr(django_settings, conf.NAME, None) or {}
    found: list[CheckMessage] = list(value_errors(values))
    if not found:
        settings = conf.parse(values)
        found = [*_ranges(settings), *_backends(), *_alias(settings)]
    if not found:
        found = [*_proportions(settings), *_memory_log(), *_sqlite(settings.DATABASE)]
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


def value_errors(values: object) -> Iterator[CheckMessage]:
    """What is wrong with each of the ``values`` of a ``DJANGO_SSE`` by itself."""
    if not isinstance(values, Mapping):
        yield Error(
            f"settings.{conf.NAME} is a {type(values).__name__}: it must be a dict.",
            hint=f'For example {conf.NAME} = {{"HEARTBEAT": 20}}.',
            id="django_sse.E001",
        )
        return
    known = [field.name for field in fields(conf.Settings)]
    for name, value in values.items():
        if name not in known:
            yield _unknown(name, known)
            continue
        try:
            conf.parse({name: value})
        except ImproperlyConfigured as error:
            hint = f"The default is {getattr(conf.Settings(), name)!r}."
            yield Error(str(error), hint=hint, id="django_sse.E003")


def _unknown(name: object, known: Sequence[str]) -> Error:
    close = get_close_matches(str(name).upper(), known, n=1)
    return Error(
        f"{conf.NAME}[{name!r}] is not a setting.",
        hint=f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}.",
        id="django_sse.E002",
    )


def _ranges(settings: conf.Settings) -> Iterator[CheckMessage]:
    for name in _ABOVE_ZERO:
        if getattr(settings, name) == 0:
            yield Error(
                f'{conf.NAME}["{name}"] must be more than zero.',
                hint=f"The default is {getattr(conf.Settings(), name)!r}.",
                id="django_sse.E004",
            )
    if settings.RUNS_PER_OWNER > _MOST_SLOTS:
        yield Error(
            f'{conf.NAME}["RUNS_PER_OWNER"] is {settings.RUNS_PER_OWNER}: at most {_MOST_SLOTS}.',
            hint=f"The default is {conf.Settings().RUNS_PER_OWNER}.",
            id="django_sse.E004",
        )
    if settings.RETRY + settings.RETRY_JITTER > MAX_RETRY:
        yield Error(
            f"RETRY and RETRY_JITTER together are over {MAX_RETRY} milliseconds, the longest "
            "timer of a browser.",
            hint="Both are milliseconds.",
            id="django_sse.E004",
        )
    if not ENVIRONMENT.fullmatch(settings.ENVIRONMENT):
        yield Error(
            f'{conf.NAME}["ENVIRONMENT"] is {settings.ENVIRONMENT!r}: it has at most 40 ASCII '
            "letters, digits, underscores, periods and hyphens.",
            hint='For example "staging".',
            id="django_sse.E009",
        )


def _backends() -> Iterator[CheckMessage]:
    """What the dotted paths stand for. The exceptions name the setting."""
    for check, hint, id in (
        (get_log, "django_sse.log.model.ModelLog is the default.", "E005"),
        (get_notifier, "'auto' is the default; docs/notifiers.md has the others.", "E006"),
        (conf.json_encoder, "It needs the dotted path of a class.", "E007"),
        (access_hook, "It needs the dotted path of a function.", "E014"),
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
            id="django_sse.E015",
        )


def _proportions(settings: conf.Settings) -> Iterator[CheckMessage]:
    if settings.MAX_EVENT_BYTES * _EVENTS_IN_A_RING > settings.RING_BYTES:
        yield Warning(
            f"MAX_EVENT_BYTES ({settings.MAX_EVENT_BYTES}) is more than half of RING_BYTES "
            f"({settings.RING_BYTES}): a single event can push all others out of a channel's ring, "
            "and every client then reads them from the log.",
            hint="Store large data elsewhere and publish a reference to it, or raise RING_BYTES.",
            id="django_sse.W003",
        )
    if settings.HEARTBEAT >= _PROXY_TIMEOUT:
        yield Warning(
            f"HEARTBEAT is {settings.HEARTBEAT:g} s: proxies cut a stream that is silent for "
            f"{_PROXY_TIMEOUT} s.",
            hint="15 s is safe for all known proxies and clients.",
            id="django_sse.W005",
        )


def _memory_log() -> Iterator[CheckMessage]:
    if isinstance(get_log(), MemoryLog) and get_notifier().supports_other_processes:
        yield Warning(
            "LOG is a MemoryLog, which no other process can read, but NOTIFIER wakes other "
            "processes.",
            hint="Use NOTIFIER = 'local' (or 'auto'), or a log that processes share.",
            id="django_sse.W006",
        )


def _sqlite(alias: str) -> Iterator[CheckMessage]:
    connection = connections[alias]
    if connection.vendor != "sqlite" or not isinstance(get_log(), ModelLog):
        return
    options = connection.settings_dict["OPTIONS"]
    if str(options.get("transaction_mode")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield Warning(
            f"The event log's SQLite database {alias!r} has deferred transactions: one that reads "
            'and then writes fails with "database is locked" as soon as another has written in '
            "between.",
            hint=f'Set DATABASES[{alias!r}]["OPTIONS"]["transaction_mode"] = "IMMEDIATE".',
            id="django_sse.W001",
        )
    in_memory = connection.is_in_memory_db()  # type: ignore[attr-defined]
    if not in_memory and not _WAL.search(str(options.get("init_command"))):
        yield Warning(
            f"The event log's SQLite database {alias!r} does not ask for WAL: without it readers "
            "and publishers wait for each other.",
            hint=f'Set DATABASES[{alias!r}]["OPTIONS"]["init_command"] = '
            '"PRAGMA journal_mode=WAL;". A file that is in WAL mode stays so: then silence this.',
            id="django_sse.W002",
        )
