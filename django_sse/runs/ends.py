"""The ends of a run that do not come from its generator: a stop, and the death of its process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_sse.dialects import DIALECTS, get_dialect
from django_sse.exceptions import ChannelFinished
from django_sse.hub.registry import announce
from django_sse.log import get_log
from django_sse.log.attempts import Attempt, Rewound
from django_sse.publishing import last_entries
from django_sse.runs import store
from django_sse.streams.ends import ABORTED, INTERRUPTED, Ending, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from django_sse.dialects import AnswerEncoder, Dialect
    from django_sse.log.base import Appended, Entry, Head, Outcome
    from django_sse.models import Run
    from django_sse.wire.event import Event

# An end is made for the channel's position. The run may append more events meanwhile.
_TRIES = 3


def name_of(dialect: Dialect) -> str:
    """Return the dialect's name for the run's row, or the path of a project's own dialect."""
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
    """Return an encoder that can end the answer of ``run`` after ``sent`` events."""
    return dialect_of(run).encoder(sent=sent)


def last_events(run: Run, sent: int, ending: Ending) -> list[Event]:
    """Return the events that end the run's answer after ``sent`` events, in its own dialect.

    A project may have removed its own dialect in the last release. Then the run ends in ``plain``.
    """
    return say(ending, [lambda: encoder_of(run, sent)], _as_they_are)


def _as_they_are(ending: Ending, events: list[Event]) -> list[Event]:
    return events


def stop(run: Run) -> bool:
    """End ``run`` as aborted, wherever it runs. Returns False when it had ended before.

    Its process frees its slot when the generator has stopped. Raises ``LogUnavailable``.
    """
    ends = _end([run], ABORTED, get_log().append_each)
    _note(ends, store.ended)
    return bool(ends.here)


def interrupt(runs: Sequence[Run]) -> None:
    """End ``runs``, whose processes are gone, in one transaction. Raises ``LogUnavailable``.

    Each run ends once, even if several processes do this. A run whose channel is locked is left for
    the next time, so that a hundred of them do not delay the other runs.
    """
    _note(_end(runs, INTERRUPTED, get_log().append_free), store.stopped)


def break_off(run: Run) -> None:
    """End ``run`` as interrupted, because it cannot go on, unless it has an end or no channel.

    The caller marks its row. Raises ``LogUnavailable``.
    """
    _note(_end([run], INTERRUPTED, get_log().append_each), lambda ids: None)


@dataclass(slots=True)
class _Ends:
    """The runs that this call ended (``here``), all that have ended, and the first error."""

    here: list[UUID] = field(default_factory=list)
    over: list[UUID] = field(default_factory=list)
    error: Exception | None = None

    def take(self, run: Run, outcome: Outcome) -> None:
        if isinstance(outcome, list):
            self.here.append(run.pk)
        if isinstance(outcome, list | ChannelFinished):
            self.over.append(run.pk)
        else:
            self.error = self.error or outcome


def _note(ends: _Ends, what: Callable[[list[UUID]], None]) -> None:
    # Also after an error: the ends of the other runs are in the log.
    what(ends.over)
    if ends.error is not None:
        raise ends.error


def _end(
    runs: Sequence[Run],
    ending: Ending,
    append_all: Callable[[Sequence[Sequence[Entry]]], tuple[list[Appended], list[Outcome]]],
) -> _Ends:
    """End the channels of ``runs``, each once, even if several processes do this.

    An end says how many events came before it, so it is made for a position. A run whose channel is
    gone is over without an end, because nothing makes that channel again.
    """
    ends = _Ends()
    left = list(runs)
    for turn in range(_TRIES):
        heads = store.heads(left)
        ends.over += [run.pk for run in left if run.pk not in heads]
        there = [run for run in left if run.pk in heads]
        left = []
        if not there:
            break
        # A run that appends faster than this can end it is ended at whatever position.
        last = turn == _TRIES - 1
        groups = [_last(run, heads[run.pk], ending, anywhere=last) for run in there]
        appended, outcomes = append_all(groups)
        announce(appended)
        for run, outcome in zip(there, outcomes, strict=True):
            if isinstance(outcome, Rewound):
                left.append(run)
            else:
                ends.take(run, outcome)
    # Their channels were removed since the last query.
    ends.over += [run.pk for run in left]
    return ends


def _last(run: Run, head: Head, ending: Ending, *, anywhere: bool) -> Attempt:
    entries = last_entries(run.channel, ending.state, last_events(run, head.head, ending))
    return Attempt(entries, head.position, anywhere=anywhere)
