"""Every setting: its name, type, default and why. One dict in the project's settings::

    DJANGO_SSE = {"NOTIFIER": "database", "STREAMS": {"HEARTBEAT": 20}}

The settings are read at the moment of use, so ``override_settings`` works.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

T = TypeVar("T")

NAME = "DJANGO_SSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifier:
    """``NOTIFIER``: how a publish wakes the other processes. The ``BACKEND`` alone may stand for
    the dict."""

    BACKEND: str = "auto"
    """``auto``, ``local``, ``database``, ``postgres``, ``channel_layer``, or the dotted path of a
    ``Notifier`` class."""

    OPTIONS: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments for the constructor of the ``BACKEND``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """``STREAMS``: how a stream treats its client."""

    HEARTBEAT: float = 15.0
    """A stream that has been silent for this long sends a comment. Proxies cut silent streams after
    60 s (nginx's ``proxy_read_timeout``), event-source-polyfill after 45 s."""

    RETRY: int = 2000
    """Milliseconds. The reconnection time that ``stream-open`` gives to the client."""

    RETRY_JITTER: int = 5000
    """Milliseconds. A server that stops, or is overloaded, tells each client to reconnect at a
    random time between RETRY and RETRY + RETRY_JITTER, so that they do not return all at once."""

    OPEN_TIMEOUT: float = 1.0
    """The headers wait this long for a generator's first item, then they are sent without it."""

    SEND_TIMEOUT: float = 60.0
    """A client that has not read what was sent to it for this long is dropped: it stalled, or its
    connection is half open. It can reconnect with its position. Checked twice a HEARTBEAT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``LIMITS``: the most that one event, channel, owner or process may use."""

    MAX_EVENT_BYTES: int = 256 << 10
    """Publishing a larger event raises ``EventTooLarge``. Keep it well below RING_BYTES."""

    RING_BYTES: int = 1 << 20
    """Bytes of frames that each process keeps in memory for each channel with clients."""

    RING_EVENTS: int = 1024
    """Frames that each process keeps in memory for each channel with clients, if they fit into
    RING_BYTES."""

    STREAMS_PER_PROCESS: int | None = None
    """Streams that one process may have open; the answer to one more is 503, or ``stream-retry``
    for an EventSource. None: three quarters of the descriptors that the process may open (soft
    ``RLIMIT_NOFILE``), all but 64 if it may open fewer than 256, and never more than 20,000; with
    gunicorn's ``gthread`` at most three quarters of its ``--threads``."""

    STREAMS_PER_OWNER: int | None = None
    """Streams that one user, or one session, may have open in one process; the answer to one more
    is 429, or ``stream-retry`` for an EventSource. Only for views that asked who the client is.
    None: a quarter of STREAMS_PER_PROCESS, at most 100."""

    SYNC_GENERATORS: int = 64
    """Sync generators that may stream at the same time in one process: each needs a thread. One
    owner may have a quarter of them."""

    RUNS_PER_OWNER: int = 20
    """Runs that one user, or one anonymous session, may have in progress; the answer to one more is
    429, or ``stream-retry`` for an EventSource. A run counts until its generator has stopped."""

    RUNS_PER_PROCESS: int = 1000
    """Runs that one process may have, for all owners together; the answer to one more is 503, or
    ``stream-retry`` for an EventSource. A run counts until its generator has stopped."""

    RUN_SECONDS: float = 6 * 3600.0
    """A run that takes longer ends with an error, code ``limit_seconds``."""

    RUN_EVENTS: int = 200_000
    """A run with more events ends with an error, code ``limit_events``."""

    RUN_BYTES: int = 64 << 20
    """A run whose events have more bytes of data ends with an error, code ``limit_bytes``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """``RETENTION``: what ``sse_trim`` removes."""

    AGE: float | None = 7 * 86400.0
    """Events older than this many seconds are removed. None: they are kept."""

    COUNT: int | None = None
    """At most this many events of a channel are kept. None: all."""

    RUN_AGE: float | None = 7 * 86400.0
    """Runs that ended longer ago than this many seconds are removed. None: they are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """``RUNS``: generators that outlive their request."""

    LEASE: float = 6.0
    """A process that does not change its lease for this long is taken for dead, and its runs end as
    ``interrupted``. The process that looks measures with its own clock. A lease is renewed four
    times in this time, with one query for all runs. After an outage of the database each process
    has this long again."""

    GRACE: float = 10.0
    """A server that stops gives its runs this long to finish; then they are interrupted. Keep it
    below the time that the server's supervisor allows (gunicorn's ``graceful_timeout``)."""

    UNWATCHED: float = 30.0
    """A run of a ``resumable="while_connected"`` view is cancelled after this long without a
    client."""

    OWNER: str | None = None
    """Dotted path of ``def owner(request) -> str | None``, sync or async: who owns the runs that a
    request starts, for API keys and tokens. Where it returns None, or is None, the owner is the
    request's user, else its session."""

    ACCESS: str | None = None
    """Dotted path of ``def may_access(request, run, action) -> bool``, sync or async: whether a
    request by somebody other than the owner may ``"read"`` or ``"stop"`` a run. Only True is yes; a
    response is sent as it is. None: nobody else may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of ``settings.DJANGO_SSE``. Times are seconds unless stated otherwise."""

    DATABASE: str = "default"
    """Alias of the database that holds the log. A publish is part of its transactions."""

    NOTIFIER: Notifier = Notifier()

    ENVIRONMENT: str = ""
    """Keeps sites apart that share a Redis or a PostgreSQL database, such as staging and
    production: at most 40 ASCII letters, digits, ``_``, ``.`` and ``-``."""

    JSON_ENCODER: str = "django.core.serializers.json.DjangoJSONEncoder"
    """Dotted path of the encoder for data that is not a ``str``."""

    SAFETY_INTERVAL: float = 5.0
    """Pause between two safety polls: one query a process that finds events whose wake-up was
    lost."""

    STREAMS: Streams = Streams()
    LIMITS: Limits = Limits()
    RETENTION: Retention = Retention()
    RUNS: Runs = Runs()


class Problem(NamedTuple):
    """A mistake in one value. ``id`` is the id of its system check."""

    id: str
    message: str
    hint: str


def problems(values: object) -> Iterator[Problem]:
    """Yield all mistakes in the single values of a ``DJANGO_SSE`` dict."""
    if isinstance(values, Mapping):
        yield from _group_problems(Settings(), values, NAME)
    else:
        message = f"settings.{NAME} is {_kind(values)}: it must be a dict."
        yield Problem("E001", message, f'For example {NAME} = {{"STREAMS": {{"HEARTBEAT": 20}}}}.')


def _group_problems(group: Any, values: Mapping[Any, Any], setting: str) -> Iterator[Problem]:
    hints = get_type_hints(type(group))
    for name, value in values.items():
        here = item(setting, name)
        if name not in hints:
            yield Problem("E002", f"{here} is not a setting.", _meant(name, hints, setting))
            continue
        default = getattr(group, name)
        if not is_dataclass(default):
            if wrong := wrong_value(here, value, hints[name]):
                yield Problem("E003", wrong, f"The default is {default!r}.")
        elif isinstance(value, Mapping):
            yield from _group_problems(default, value, here)
        elif not (isinstance(default, Notifier) and isinstance(value, str)):
            wanted = "a str or a dict" if isinstance(default, Notifier) else "a dict"
            wrong = f"{here} is {_kind(value)}: it must be {wanted}."
            yield Problem(
                "E003", wrong, f"It may have: {', '.join(get_type_hints(type(default)))}."
            )


def item(setting: str, name: object) -> str:
    """Return the entry ``name`` of the dict ``setting`` as a user writes it."""
    return f'{setting}["{name}"]' if isinstance(name, str) else f"{setting}[{name!r}]"


def _meant(name: object, known: Collection[str], setting: str) -> str:
    """Return a hint for the unknown ``name``: a similar one here, else one of another level."""
    written = {each.name: item(NAME, each.name) for each in fields(Settings)}
    for group in fields(Settings):
        if is_dataclass(group.default):
            outer = item(NAME, group.name)
            written |= {each.name: item(outer, each.name) for each in fields(group.default)}
    written |= {each: item(setting, each) for each in known}
    wanted = str(name).upper()
    here = [wanted] if wanted in written else get_close_matches(wanted, known, n=1)
    return did_you_mean(wanted, {each: written[each] for each in here} or written, known)


def did_you_mean(name: str, written: Mapping[str, str], known: Collection[str]) -> str:
    """Return a hint: the setting named most like ``name``, else the ``known`` names."""
    if close := get_close_matches(name, written, n=1):
        return f"Did you mean {written[close[0]]}?"
    return f"Known: {', '.join(known)}." if known else "There are none."


def wrong_value(setting: str, value: object, expected: Any) -> str | None:
    """Return what is wrong with the ``value`` of ``setting``, or None.

    ``expected`` is the setting's annotation, made of str, int, float, None and Mapping.
    """
    accepted = get_args(expected) if not _is_mapping(expected) else (Mapping,)
    accepted = accepted or (expected,)
    if float in accepted:
        accepted += (int,)
    if isinstance(value, bool) or not isinstance(value, accepted):
        wanted = " or ".join(_NAMES.get(kind, kind.__name__) for kind in accepted)
        # An option may hold a password, in whatever form it was given.
        found = _kind(value) if "OPTIONS" in setting else repr(value)
        return f"{setting} is {found}: it must be {wanted}."
    if isinstance(value, int | float) and value < 0:
        return f"{setting} is {value!r}: it must not be negative."
    if isinstance(value, float) and not math.isfinite(value):
        return f"{setting} is {value!r}: it must be a finite number."
    return None


def _kind(value: object) -> str:
    return _article(type(value))


def _article(kind: type) -> str:
    name = kind.__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


_NAMES: dict[Any, str] = {type(None): "None", Mapping: "a dict"}


def _is_mapping(expected: Any) -> bool:
    return get_origin(expected) is Mapping


def parse(values: Mapping[str, Any]) -> Settings:
    """The typed form of a ``DJANGO_SSE`` dict.

    Raises ``ImproperlyConfigured`` for an unknown name or a value of the wrong type.
    """
    for problem in problems(values):
        raise ImproperlyConfigured(f"{problem.message} {problem.hint}")
    return _filled(Settings(), values)


def _filled(defaults: T, values: Any) -> T:
    if isinstance(values, str):
        values = {"BACKEND": values}
    changes = {
        name: _filled(default, value) if is_dataclass(default) else value
        for name, value in values.items()
        for default in [getattr(defaults, name)]
    }
    return replace(defaults, **changes)  # type: ignore[type-var]


# The number of changes of the settings, and the settings that were read at some number. Both in one
# tuple, and not functools.cache: a thread that has read the old settings must not set them for all.
_changes = 0
_read: tuple[int, Settings] | None = None


def written() -> Any:
    """Return ``settings.DJANGO_SSE`` as the project wrote it; without it, an empty dict."""
    values = getattr(django_settings, NAME, None)
    return {} if values is None else values


def current() -> Settings:
    """The settings in force. Raises ``ImproperlyConfigured`` where they are wrong."""
    global _read  # noqa: PLW0603 - one a process
    read = _read
    if read is None or read[0] != _changes:
        changes = _changes
        read = _read = changes, parse(written())
    return read[1]


def load(setting: str, path: str, base: type[T], hint: str = "") -> type[T]:
    """The class at the dotted ``path`` that ``setting`` gives, a subclass of ``base``.

    Raises ``ImproperlyConfigured``, naming the setting, with ``hint`` where there is no such path.
    """
    try:
        found = import_string(path)
    except ImportError as error:
        message = f"{setting}: cannot import {path!r}: {error}{hint}"
        raise ImproperlyConfigured(message) from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ImproperlyConfigured(f"{setting}: {path!r} is not {_article(base)}.")
    return found


def json_encoder() -> type[json.JSONEncoder]:
    """Return the class that ``JSON_ENCODER`` names."""
    return _json_encoder(current().JSON_ENCODER)


@cache
def _json_encoder(path: str) -> type[json.JSONEncoder]:
    return load(item(NAME, "JSON_ENCODER"), path, json.JSONEncoder)


def _forget(*, setting: str, **kwargs: Any) -> None:
    global _changes  # noqa: PLW0603
    if setting == NAME:
        _changes += 1


setting_changed.connect(_forget, dispatch_uid="django_sse.conf")
