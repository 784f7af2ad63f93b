"""Every setting: its name, type, default and why. One dict in the project's settings::

    DJANGO_SSE = {"HEARTBEAT": 20, "NOTIFIER": "database"}

Read at the moment of use, so ``override_settings`` works.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

T = TypeVar("T")

NAME = "DJANGO_SSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of ``settings.DJANGO_SSE``. Times are seconds unless said otherwise."""

    LOG: str = "django_sse.log.model.ModelLog"
    """Dotted path of the ``EventLog``. ``django_sse.log.memory.MemoryLog`` keeps events in the
    process only: for tests and for channels nobody needs to replay after a restart."""

    DATABASE: str = "default"
    """Alias of the database that holds the log. Publishes share the fate of its transactions."""

    NOTIFIER: str = "auto"
    """Who wakes the other processes: ``auto``, ``local``, ``database``, ``postgres``,
    ``channel_layer``, or the dotted path of a ``Notifier``."""

    NOTIFIER_DSN: str | None = None
    """Where ``postgres`` listens and notifies, as a URL or ``host=... dbname=...``; past a pooler
    in transaction mode (PgBouncer). None: the database of the log."""

    CHANNEL_LAYER: str = "default"
    """Alias in ``CHANNEL_LAYERS`` of the layer that ``channel_layer`` uses."""

    ENVIRONMENT: str = ""
    """Keeps apart what shares a Redis or a PostgreSQL database, such as staging and production: at
    most 40 ASCII letters, digits, ``_``, ``.`` and ``-``."""

    JSON_ENCODER: str = "django.core.serializers.json.DjangoJSONEncoder"
    """Dotted path of the encoder for data that is not a ``str``."""

    HEARTBEAT: float = 15.0
    """A stream that was silent this long sends a comment. Proxies cut silent streams after 60 s
    (nginx's ``proxy_read_timeout``), event-source-polyfill after 45 s."""

    RETRY: int = 2000
    """Milliseconds. The reconnection time that ``stream-open`` tells the client."""

    RETRY_JITTER: int = 5000
    """Milliseconds. When a server stops or is overloaded, its clients are told to come back at
    random between RETRY and RETRY + this, so that they do not return all at once."""

    OPEN_TIMEOUT: float = 1.0
    """How long a generator's first item is awaited before the headers go out without it."""

    POLL_INTERVAL: float = 0.02
    """Pause between two looks of the ``database`` notifier at SQLite's ``data_version`` (about
    10 us each); a fifth of it while others write."""

    HEAD_INTERVAL: float = 0.25
    """Pause between two head queries of the ``database`` notifier on other databases."""

    SAFETY_INTERVAL: float = 5.0
    """Pause between two safety polls: one query a process that finds what no wake-up told."""

    COALESCE: float = 0.005
    """Under load a channel's clients are woken at most this often and get several events in one
    write; after a quiet moment they are woken at once. A generator's items are joined for at most
    three times this."""

    GAP_WAIT: float = 0.005
    """How long a frame that came before its predecessor waits for it, until the log is read."""

    TOPIC_LINGER: float = 30.0
    """How long a channel's ring outlives its last client in this process."""

    RING_BYTES: int = 1 << 20
    """Bytes of frames kept in memory for each channel in each process; the cap that counts."""

    RING_EVENTS: int = 1024
    """Frames kept in memory for each channel in each process, if RING_BYTES is not met before."""

    MAX_EVENT_BYTES: int = 256 << 10
    """A published event larger than this is refused; it must stay well below RING_BYTES."""

    PAGE_EVENTS: int = 500
    """Rows a replay reads at once: what bounds its memory."""

    WRITE_BYTES: int = 64 << 10
    """At most this much is joined into one write."""

    SEND_TIMEOUT: float = 60.0
    """A client that has not taken what was written to it for this long is dropped: it stalled, or
    its connection is half open. It comes back with its position. Looked at twice a HEARTBEAT."""

    DATABASE_THREADS: int = 2
    """Threads a process has for the library's reads, as many for ``acursor`` and ``aredact``, and
    as many for ``on_open`` and ``on_close``; ``apublish`` and its kind share one of their own. They
    give their connection back and end when idle."""

    THREAD_IDLE: float = 1.0
    """After this long without work a thread of the library closes its connections and ends."""

    SYNC_GENERATORS: int = 64
    """Sync generators that stream at the same time in one process: each needs a thread."""

    TRIM_AGE: float | None = 7 * 86400.0
    """``sse_trim`` removes events older than this many seconds. None: keep."""

    TRIM_COUNT: int | None = None
    """``sse_trim`` keeps at most this many events a channel. None: keep."""

    RUN_LEASE: float = 6.0
    """A run whose process has not been heard of for this long is ended by another, as
    ``interrupted``. Renewed three times in that time, with one query a process."""

    RUN_GRACE: float = 10.0
    """When the server stops, its runs get this long to finish; then they are interrupted. Keep it
    below what the server, or whoever stops it, waits for (gunicorn's ``graceful_timeout``)."""

    RUN_UNWATCHED: float = 30.0
    """A run of a ``resumable="while_connected"`` view is cancelled when it had no client for this
    long."""

    RUNS_PER_OWNER: int = 20
    """Runs that one user, or one anonymous session, may have under way; one more is answered with
    429."""

    RUN_AGE: float | None = 7 * 86400.0
    """``sse_trim`` removes runs that ended longer than this many seconds ago. None: keep."""

    RUN_ACCESS: str | None = None
    """Dotted path of ``def may_access(request, run) -> bool``, sync or async: whether somebody else
    than its owner may read and stop a run. Only True is yes; a response is sent as it is. None:
    nobody."""


def _check_type(name: str, value: Any, expected: Any) -> None:
    accepted = get_args(expected) if get_origin(expected) else (expected,)
    if float in accepted:
        accepted += (int,)
    if isinstance(value, bool) or not isinstance(value, accepted):
        wanted = " or ".join(kind.__name__ for kind in accepted)
        # It may hold a password, in whatever form it was given.
        found = f"a {type(value).__name__}" if name == "NOTIFIER_DSN" else repr(value)
        raise ImproperlyConfigured(f'{NAME}["{name}"] is {found}: it must be {wanted}.')
    if isinstance(value, int | float) and value < 0:
        raise ImproperlyConfigured(f'{NAME}["{name}"] is {value!r}: it must not be negative.')
    if isinstance(value, float) and not math.isfinite(value):
        raise ImproperlyConfigured(f'{NAME}["{name}"] is {value!r}: it must be a finite number.')


def parse(values: Mapping[str, Any]) -> Settings:
    """The typed form of a ``DJANGO_SSE`` dict.

    Raises ``ImproperlyConfigured`` for an unknown name or a value of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ImproperlyConfigured(f"{NAME} is a {type(values).__name__}: it must be a dict.")
    hints = get_type_hints(Settings)
    known = {field.name for field in fields(Settings)}
    for name, value in values.items():
        if name not in known:
            raise ImproperlyConfigured(
                f'{NAME}["{name}"] is not a setting. Known: {", ".join(sorted(known))}.'
            )
        _check_type(name, value, hints[name])
    return Settings(**values)


# How often the settings have changed, and what was read at which count. One thing, and not
# functools.cache: a thread that has read the settings of before would put them there for all.
_changes = 0
_read: tuple[int, Settings] | None = None


def current() -> Settings:
    """The settings in force. Raises ``ImproperlyConfigured`` where they are wrong."""
    global _read  # noqa: PLW0603 - one a process
    read = _read
    if read is None or read[0] != _changes:
        changes = _changes
        read = _read = changes, parse(getattr(django_settings, NAME, None) or {})
    return read[1]


def load(name: str, path: str, base: type[T], hint: str = "") -> type[T]:
    """The class at the dotted ``path`` that the setting ``name`` gives, a subclass of ``base``.

    Raises ``ImproperlyConfigured``, naming the setting, with ``hint`` where there is no such path.
    """
    try:
        found = import_string(path)
    except ImportError as error:
        message = f'{NAME}["{name}"]: cannot import {path!r}: {error}{hint}'
        raise ImproperlyConfigured(message) from None
    if not (isinstance(found, type) and issubclass(found, base)):
        article = "an" if base.__name__[0] in "AEIOU" else "a"
        message = f'{NAME}["{name}"]: {path!r} is not {article} {base.__name__}.'
        raise ImproperlyConfigured(message)
    return found


def json_encoder() -> type[json.JSONEncoder]:
    """Return the class that ``JSON_ENCODER`` names."""
    return _json_encoder(current().JSON_ENCODER)


@cache
def _json_encoder(path: str) -> type[json.JSONEncoder]:
    return load("JSON_ENCODER", path, json.JSONEncoder)


def _forget(*, setting: str, **kwargs: Any) -> None:
    global _changes  # noqa: PLW0603
    if setting == NAME:
        _changes += 1


setting_changed.connect(_forget, dispatch_uid="django_sse.conf")
