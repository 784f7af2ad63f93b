"""The life of an open stream, as a table.

A stream stands between two parties. On one side something makes frames: a generator, a channel's
log, a run. On the other a *driver* takes them to the client. There are two drivers, and they run
the same machine:

- The *pull* driver iterates: it awaits ``__anext__``, sends what it got, and asks again. Django's
  own handlers do this, and so does the handoff on a server whose ``send`` may suspend at any time.
- The *push* driver iterates until there is nothing to send and then parks the stream. A parked
  stream has no task. Whatever wakes it runs the driver, which polls the stream and sends at once.
  Only the handoff pushes, and only where ``send`` returns without suspending while the client keeps
  up (``django_sse.handoff.deliveries`` has the rules for that).

States:

``NEW``
    Nobody has read yet. A generator may already be running: its first item decides the status of
    the response.
``OPEN``
    A driver reads, or is sending what it read.
``PARKED``
    The push driver waits to be called. It has read everything there was.
``DRAINING``
    The server stops, or cannot serve this stream now. The next read gives the last frame.
``LINGERING``
    The last frame was read. The generator or subscription behind the stream is ending, and the body
    ends after it.
``CLOSED``
    Nothing will come any more, and nothing is held any more. Final.

``READ``, ``DRAIN`` and ``CLOSE`` may come in any state: a client leaves when it likes, and a server
may be told to stop twice. Where a move changes nothing, the table names the same state. A pair that
is missing is a mistake in a driver or a stream, and raises.
"""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """Where a stream is in its life; see the module's docstring."""

    NEW = auto()
    OPEN = auto()
    PARKED = auto()
    DRAINING = auto()
    LINGERING = auto()
    CLOSED = auto()


class Move(Enum):
    """What moves a stream from one state to another."""

    READ = auto()
    """A driver asks for the next chunk."""
    PARK = auto()
    """There is nothing to send, and the driver wants to be called instead of waiting."""
    DRAIN = auto()
    """The server stops, or cannot serve this stream now."""
    LAST = auto()
    """The last frame of a draining stream was read."""
    CLOSE = auto()
    """The source ended, the client left, or somebody closed the response."""


# Names of the module: Python 3.11 is slow to look a member up in its class, and these are read for
# every chunk of every client.
NEW, OPEN, PARKED, DRAINING, LINGERING, CLOSED = State
READ, PARK, DRAIN, LAST, CLOSE = Move

ENDED = (LINGERING, CLOSED)
"""The states in which nobody will read any more."""

TRANSITIONS: dict[State, dict[Move, State]] = {
    NEW: {
        READ: OPEN,
        DRAIN: DRAINING,
        CLOSE: CLOSED,
    },
    OPEN: {
        READ: OPEN,
        PARK: PARKED,
        DRAIN: DRAINING,
        CLOSE: CLOSED,
    },
    PARKED: {
        READ: OPEN,
        DRAIN: DRAINING,
        CLOSE: CLOSED,
    },
    DRAINING: {
        READ: DRAINING,
        DRAIN: DRAINING,
        LAST: LINGERING,
        CLOSE: CLOSED,
    },
    LINGERING: {
        READ: LINGERING,
        DRAIN: LINGERING,
        CLOSE: CLOSED,
    },
    CLOSED: {
        READ: CLOSED,
        DRAIN: CLOSED,
        CLOSE: CLOSED,
    },
}
"""The next state for each state and move."""


def after(state: State, move: Move) -> State:
    """Return the state that ``move`` leads to from ``state``.

    Raises ``RuntimeError`` for a pair that is not in the table.
    """
    try:
        return TRANSITIONS[state][move]
    except KeyError:
        raise RuntimeError(f"A stream that is {state.name} cannot {move.name}.") from None
