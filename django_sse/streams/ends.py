"""How a stream ends.

======================  ====================================================================
done                    the source returned: the dialect's end of a whole answer
error                   the source raised: the dialect's error
aborted                 somebody stopped the answer
interrupted             the process of an unfinished answer stopped or died: an error
drained                 the server stops or is overloaded, and the client will reconnect
======================  ====================================================================

The first four are final. The last frame of each carries ``TERMINAL_ID``, so that an EventSource,
which reconnects after every end, is told to stop. A vendor's client does not reconnect: its drained
stream ends with an error, ``INTERRUPTED`` or ``UNAVAILABLE``. A dialect that cannot put an end into
words must not keep a stream open: it then ends in the words of the plain dialect.
"""

from __future__ import annotations

import logging
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from django.conf import settings as django_settings

from django_sse import conf
from django_sse.dialects.plain import PLAIN
from django_sse.exceptions import StreamError
from django_sse.models import State
from django_sse.wire.encoder import encode
from django_sse.wire.event import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from django_sse.dialects import AnswerEncoder

T = TypeVar("T")

logger = logging.getLogger("django_sse")

TERMINAL_ID = "!end"
"""The id of a terminal frame. An EventSource that ignores the frame reconnects with this id and is
answered with 204, which makes it stop (WHATWG HTML, 9.2.3)."""


@dataclass(frozen=True, slots=True)
class Ending:
    """One of the final ends.

    ``state`` is what the log says of it. ``message`` is the client's text for an answer that is not
    whole, and ``code`` is ``"error"``, ``"interrupted"``, or the code of a run's ceiling
    (``django_sse.runs.ceilings``).
    """

    state: State
    message: str = ""
    code: str = "error"

    def events(self, encoder: AnswerEncoder) -> list[Event]:
        """Return the events that end an answer of ``encoder`` so; the last one is terminal.

        Raises ``ValueError`` for a dialect that says nothing: half an answer would look whole.
        """
        if self.state is State.DONE:
            events = encoder.done()
        elif self.state is State.ABORTED:
            events = encoder.aborted()
        else:
            events = encoder.failed(self.message, self.code)
        if not events and not encoder.ends_silently:
            raise ValueError(f"{type(encoder).__name__} has no event for an answer that ends.")
        return events


COMPLETE = Ending(State.DONE)
FAILED = Ending(State.ERROR, "The stream failed.")
ABORTED = Ending(State.ABORTED)
INTERRUPTED = Ending(
    State.ERROR, "The server was stopped before the answer was complete.", "interrupted"
)
LOST = Ending(
    State.ERROR, "The server no longer knows which part of the answer you have.", "interrupted"
)
UNAVAILABLE = Ending(State.ERROR, "The server cannot send the answer now. Try again later.")
_NO_END = Ending(State.ERROR, "The answer is complete, but its end could not be sent.")


def failed(error: BaseException) -> Ending:
    """Return the end of an answer whose source raised ``error``."""
    return Ending(State.ERROR, error_message(error))


def error_message(error: BaseException) -> str:
    """Return the client's text for ``error``: only a ``StreamError`` is quoted, or with DEBUG any.

    Everything else an exception says stays in the log of the server.
    """
    message = FAILED.message
    # An error must not fail for its own text: its ``__str__`` may raise, and what it quotes may
    # have arrived broken.
    with suppress(Exception):
        if isinstance(error, StreamError):
            message = str(error)
        elif django_settings.DEBUG:
            message = f"{type(error).__name__}: {error}"
    return message.encode(errors="replace").decode()


def say(
    ending: Ending,
    encoders: Iterable[Callable[[], AnswerEncoder]],
    write: Callable[[Ending, list[Event]], T],
) -> T:
    """Return what ``write`` makes of the events that end an answer.

    Each of ``encoders`` is made and asked in turn until one can say it and ``write`` takes it; the
    plain dialect is the last. An answer whose end cannot be said as it is has failed.
    """
    for make in encoders:
        try:
            return write(ending, ending.events(make()))
        except Exception:
            # A project's own dialect, or an end that repeats the whole answer and is too large.
            logger.exception("A stream cannot end in its dialect.")
            if ending is COMPLETE:
                ending = _NO_END
    return write(ending, ending.events(PLAIN))


def last_frames(events: Sequence[Event]) -> bytes:
    """Return the frames of ``events``, the last of them terminal. Empty for no events."""
    if not events:
        return b""
    *before, last = events
    json_class = conf.json_encoder()
    frames = [encode(event, json_class) for event in before]
    terminal = Event(last.data, last.event, TERMINAL_ID, last.retry)
    return b"".join([*frames, encode(terminal, json_class)])


def end_frames(ending: Ending, encoder: AnswerEncoder) -> bytes:
    """Return the last frames of an answer of ``encoder`` that did not go well."""
    return say(ending, [lambda: encoder], _as_frames)


def _as_frames(ending: Ending, events: list[Event]) -> bytes:
    return last_frames(events)


def retry_frame(last_event_id: str | None = None) -> bytes:
    """Return the frame of ``stream-retry``, which tells a client when to reconnect.

    The time is random, between RETRY and RETRY + RETRY_JITTER, so that the clients of a server that
    stops do not all return at once. ``last_event_id`` is the position to bring, for a client that
    has none yet.
    """
    settings = conf.current().STREAMS
    milliseconds = settings.RETRY + random.randint(0, settings.RETRY_JITTER)
    event = Event("{}", event="stream-retry", id=last_event_id, retry=milliseconds)
    return encode(event)
