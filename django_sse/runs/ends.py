"""The ends that do not come from the run itself: a stop, and the death of its process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_sse.dialects import DIALECTS, get_dialect
from django_sse.exceptions import ChannelFinished
from django_sse.hub.registry import announce
from django_sse.log import get_log
from django_sse.log.base import State
from django_sse.publishing import PLAIN, end, last_entries
from django_sse.runs import store
from django_sse.streams.generator import STOPPING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_sse.dialects import Dialect, Encoder
    from django_sse.log.base import Entry
    from django_sse.models import Run
    from django_sse.wire.event import Event

logger = logging.getLogger("django_sse")


def name_of(dialect: Dialect | None) -> str:
    """What a run's row says of its dialect, for other processes: a project's own by its path."""
    if dialect is None:
        return ""
    if dialect.name in DIALECTS and type(get_dialect(dialect.name)) is type(dialect):
        return dialect.name
    kind = type(dialect)
    return f"{kind.__module__}.{kind.__qualname__}"


def check(dialect: Dialect | None) -> None:
    """Raises ``ImproperlyConfigured`` for a dialect that no other process could make."""
    path = name_of(dialect)
    if path in DIALECTS or not path:
        return
    try:
        made = type(import_string(path)())
    except Exception as error:
        raise ImproperlyConfigured(
            f"The dialect {path} cannot be made by its path, which another process has to do to "
            f"end a run: {error}. Define its class at the top of a module, with a constructor "
            "that needs no arguments."
        ) from error
    if made is not type(dialect):
        raise ImproperlyConfigured(f"At {path} there is another dialect than the view's.")


def dialect_of(run: Run) -> Dialect | None:
    """The dialect that ``run`` speaks. Raises ``ImportError`` for one that is gone."""
    if run.dialect in DIALECTS:
        return get_dialect(run.dialect)
    return import_string(run.dialect)() if run.dialect else None


def last_events(run: Run, sent: int, end: Callable[[Encoder], list[Event]]) -> list[Event]:
    """What ends the run's answer, of which ``sent`` events are out, in its own dialect."""
    try:
        dialect = dialect_of(run)
        return end(PLAIN if dialect is None else dialect.encoder(sent=sent))
    except Exception:
        # A project's own, which may have gone with the last release: the run must end all the same.
        logger.exception("The run %s cannot end in its dialect %r.", run.pk, run.dialect)
        return end(PLAIN)


def stop(run: Run) -> bool:
    """End ``run`` as aborted, wherever it runs; False when it had ended.

    Raises ``LogUnavailable``.
    """
    sent = store.state(run)[1]
    events = last_events(run, sent, lambda encoder: encoder.aborted())
    stopped = end(run.channel, State.ABORTED, events)
    store.ended([run.pk])
    return stopped


def end_expired(runs: Sequence[Run]) -> None:
    """End ``runs``, whose processes are gone, in one transaction; each but once, whoever else does
    the same. Raises ``LogUnavailable``."""
    if not runs:
        return
    log = get_log()
    heads = log.heads([run.channel for run in runs])
    # One whose channel is gone has said nothing.
    sent = {name: head.head for name, head in heads.items()}
    groups = [_interrupted(run, sent.get(run.channel, 0)) for run in runs]
    appended, outcomes = log.append_each(groups)
    announce(appended)
    done = [isinstance(outcome, list | ChannelFinished) for outcome in outcomes]
    store.ended(run.pk for run, has_end in zip(runs, done, strict=True) if has_end)
    for outcome, has_end in zip(outcomes, done, strict=True):
        if isinstance(outcome, Exception) and not has_end:
            raise outcome


def _interrupted(run: Run, sent: int) -> list[Entry]:
    events = last_events(run, sent, lambda encoder: encoder.failed(STOPPING, "interrupted"))
    return last_entries(run.channel, State.ERROR, events)
