"""The ends of a run that do not come from its generator: a stop, and the death of its process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_sse.dialects import DIALECTS, get_dialect
from django_sse.exceptions import ChannelFinished, LogUnavailable
from django_sse.hub.registry import announce
from django_sse.log import get_log
from django_sse.process import database
from django_sse.publishing import end, last_entries
from django_sse.runs import store
from django_sse.streams.ends import ABORTED, INTERRUPTED, Ending, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from django_sse.dialects import AnswerEncoder, Dialect
    from django_sse.log.base import Entry
    from django_sse.models import Run
    from django_sse.wire.event import Event

logger = logging.getLogger("django_sse")


def name_of(dialect: Dialect) -> str:
    """Return what a run's row says of its dialect, for other processes: a project's own by path."""
    if dialect.name in DIALECTS and type(get_dialect(dialect.name)) is type(dialect):
        return dialect.name
    kind = type(dialect)
    return f"{kind.__module__}.{kind.__qualname__}"


def check(dialect: Dialect) -> None:
    """Raise ``ImproperlyConfigured`` for a dialect that no other process could make."""
    path = name_of(dialect)
    if path in DIALECTS:
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


def dialect_of(run: Run) -> Dialect:
    """Return the dialect that ``run`` speaks. Raises ``ImportError`` for one that is gone."""
    if run.dialect in DIALECTS:
        return get_dialect(run.dialect)
    dialect: Dialect = import_string(run.dialect)()
    return dialect


def encoder_of(run: Run, sent: int) -> AnswerEncoder:
    """Return an encoder that can end the answer of ``run``, of which ``sent`` events are out."""
    return dialect_of(run).encoder(sent=sent)


def last_events(run: Run, sent: int, ending: Ending) -> list[Event]:
    """Return what ends the run's answer, of which ``sent`` events are out, in its own dialect.

    A project's own dialect may be gone since the last release: the run then ends in plain words.
    """
    return say(ending, [lambda: encoder_of(run, sent)], _as_they_are)


def _as_they_are(ending: Ending, events: list[Event]) -> list[Event]:
    return events


def stop(run: Run) -> bool:
    """End ``run`` as aborted, wherever it runs. Returns False when it had ended before.

    Its process frees its slot when the generator has left.

    Raises ``LogUnavailable``.
    """
    sent = store.state(run)[1]
    stopped = end(run.channel, ABORTED.state, last_events(run, sent, ABORTED))
    store.ended([run.pk])
    return stopped


async def note(run: Run, what: Callable[[list[UUID]], None]) -> None:
    """Call ``what``, which notes in the row of ``run`` that it has ended or left."""
    try:
        await database.write(what, [run.pk])
    except LogUnavailable as error:
        # A keeper notes it when the lease has expired.
        logger.warning("The run %s could not be marked as ended yet: %s", run.pk, error)


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
    store.left(run.pk for run, has_end in zip(runs, done, strict=True) if has_end)
    for outcome, has_end in zip(outcomes, done, strict=True):
        if isinstance(outcome, Exception) and not has_end:
            raise outcome


def _interrupted(run: Run, sent: int) -> list[Entry]:
    return last_entries(run.channel, INTERRUPTED.state, last_events(run, sent, INTERRUPTED))
