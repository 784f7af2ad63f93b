"""Publishing: from any thread, any process, inside a transaction or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from django_sse import constants, group_commit
from django_sse.dialects.plain import PLAIN
from django_sse.exceptions import ChannelFinished, InvalidCursor, InvalidKey, PublishNotAllowed
from django_sse.hub.orphans import catch_up
from django_sse.hub.registry import announce, look_again
from django_sse.log import get_log
from django_sse.log.attempts import Attempt
from django_sse.log.base import Kind, State
from django_sse.log.entries import as_event, entry_of, make_entry, validate_channel
from django_sse.process import database
from django_sse.process.request_thread import under_async_to_sync
from django_sse.process.testcase import in_users_test
from django_sse.streams.ends import ABORTED, COMPLETE, FAILED
from django_sse.wire.cursor import MAX_CHANNELS, Cursor
from django_sse.wire.event import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import ParamSpec, TypeVar

    from django_sse.log.base import Entry, EventLog

    P = ParamSpec("P")
    T = TypeVar("T")

_ENDS = {ending.state: ending.events(PLAIN) for ending in (COMPLETE, FAILED, ABORTED)}


def _refuse_event_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise PublishNotAllowed(
        f"{name}() would block the event loop it is called on. Use: await a{name}(...)."
    )


def _refuse_transaction(log: EventLog, name: str, arguments: str) -> None:
    if log.in_transaction():
        raise PublishNotAllowed(
            f"{name}() must not be called inside a transaction. Call it after the commit: "
            f"transaction.on_commit(lambda: {name}({arguments}))."
        )


def _publish(entries: list[Entry]) -> list[str] | None:
    log = get_log()
    # An attempt cannot be deferred. Only a test makes one inside a transaction.
    if log.in_transaction() and not isinstance(entries, Attempt):
        log.defer(entries, announce)
        return None
    appended, (outcome,) = log.append_each([entries])
    # Even if the channel has finished: its end may have been in the outbox until now.
    announce(appended)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def publish(
    channel: str, data: Any, event: str | None = None, *, key: str | None = None
) -> str | None:
    """Append an event to ``channel`` and wake all streams of it.

    ``data`` is a ``str``, a value that the JSON encoder accepts, or an ``Event``. Returns the
    event's id. Inside ``transaction.atomic()`` on the log's database the event shares the
    transaction's fate: it is sequenced after the commit, and None is returned.

    A ``key`` makes it safe to repeat the call: for 24 hours the same key on the same channel is the
    same event. A repeated call publishes nothing, whatever its ``data``, and returns the id of that
    event, even after the channel's end.

    Raises ``InvalidChannel``, ``InvalidEvent``, ``InvalidKey``, ``DataNotSerializable``,
    ``EventTooLarge``, ``ChannelFinished``, ``PublishNotAllowed`` (on a thread with a running event
    loop: use ``apublish``) and ``LogUnavailable``.
    """
    _refuse_event_loop("publish")
    ids = _publish([make_entry(channel, as_event(data, event), key=key)])
    return ids[0] if ids else None


def publish_many(
    events: Iterable[tuple[str, Any]], *, keys: Iterable[str | None] | None = None
) -> list[str] | None:
    """Append all of several events, of one or several channels, or none, in one transaction.

    ``events`` are pairs of a channel and the ``data`` for ``publish``. ``keys`` has a key, or None,
    for each of them; see ``publish``. Returns their ids in the given order, or None inside a
    transaction. Raises the errors of ``publish``.
    """
    _refuse_event_loop("publish_many")
    entries = _entries(events, keys)
    return _publish(entries) if entries else []


def _entries(events: Iterable[tuple[str, Any]], keys: Iterable[str | None] | None) -> list[Entry]:
    if keys is None:
        return [make_entry(channel, as_event(data)) for channel, data in map(_pair, events)]
    if isinstance(keys, str):
        raise InvalidKey("keys must be a list with a key or None for each event, not a str.")
    events, keys = list(events), list(keys)
    if len(keys) != len(events):
        raise InvalidKey(
            f"keys must have a key or None for each event, but there are {len(keys)} keys and "
            f"{len(events)} events."
        )
    return [
        make_entry(channel, as_event(data), key=key)
        for (channel, data), key in zip(map(_pair, events), keys, strict=True)
    ]


def _pair(event: object) -> tuple[str, Any]:
    """Return ``event``, which must be a channel and its data. Raises ``TypeError``."""
    if isinstance(event, tuple | list) and len(event) == 2:
        channel, data = event
        return channel, data
    raise TypeError(
        f"publish_many takes pairs of a channel and the data, but {event!r:.100} is none. An event "
        "with a type is Event(data, event=...)."
    )


def _terminal(channel: str, state: str, event: Event | None) -> Entry:
    if state not in (State.DONE, State.ERROR, State.ABORTED):
        raise ValueError(f"state must be 'done', 'error' or 'aborted', not {state!r}.")
    if event is not None and not isinstance(event, Event):
        raise TypeError(f"event must be an Event or None, not {type(event).__name__}.")
    events = _ENDS[State(state)] if event is None else [event]
    (entry,) = last_entries(validate_channel(channel), State(state), events)
    return entry


def last_entries(channel: str, state: State, events: Sequence[Event]) -> list[Entry]:
    """Return the entries that end ``channel`` with ``events``; the last one is terminal.

    The channel was validated, or is the library's own.
    """
    *before, last = events
    terminal = entry_of(channel, last, Kind.TERMINAL, state.value)
    return [*(entry_of(channel, event) for event in before), terminal]


def finish(channel: str, state: str = State.DONE, event: Event | None = None) -> bool | None:
    """End ``channel`` for good with its one terminal event.

    ``state`` is ``"done"``, ``"error"`` or ``"aborted"``. ``event`` is the terminal event: by
    default ``close`` with ``[DONE]``, or for the other states ``error``, so that an incomplete
    stream never looks complete. The channel's clients get the event, then their streams end; a
    client that reconnects afterwards gets a 204.

    Returns True if this call ended the channel, and False if it already had a terminal state (the
    first one wins). Inside a transaction that sees no terminal state it returns None, because only
    the commit decides. Raises the errors of ``publish``, ``ValueError`` for another state, and
    ``TypeError`` for an ``event`` that is not an ``Event``.
    """
    _refuse_event_loop("finish")
    try:
        ids = _publish([_terminal(channel, state, event)])
    except ChannelFinished:
        return False
    return None if ids is None else True


async def _on_callers_thread() -> bool:
    """Return whether a sync caller may be in a transaction that the publish has to share.

    That is so under ``async_to_sync``, and in a user's ``TestCase``.
    """
    return under_async_to_sync() or await in_users_test()


async def _call(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``call`` on a thread where it may use the database.

    Inside ``async_to_sync`` that is the caller's thread, whose transaction the call may have to
    share; otherwise it is one of the library's threads.
    """
    if under_async_to_sync():
        return await sync_to_async(call)(*args, **kwargs)
    return await database.write(call, *args, **kwargs)


async def append(entries: list[Entry]) -> list[str] | None:
    """Append all of ``entries`` or none, together with other coroutines' events; see
    ``apublish``."""
    if await _on_callers_thread():
        return await sync_to_async(_publish)(entries)
    return await group_commit.append(entries)


async def apublish(
    channel: str, data: Any, event: str | None = None, *, key: str | None = None
) -> str | None:
    """``publish`` for coroutines; events that are published concurrently share a commit.

    If the call is cancelled, the event may or may not have been published.
    """
    ids = await append([make_entry(channel, as_event(data, event), key=key)])
    return ids[0] if ids else None


async def apublish_many(
    events: Iterable[tuple[str, Any]], *, keys: Iterable[str | None] | None = None
) -> list[str] | None:
    """``publish_many`` for coroutines; see ``apublish``."""
    entries = _entries(events, keys)
    return await append(entries) if entries else []


async def afinish(channel: str, state: str = State.DONE, event: Event | None = None) -> bool | None:
    """``finish`` for coroutines; see ``apublish``."""
    if await _on_callers_thread():
        return await sync_to_async(finish)(channel, state, event)
    try:
        await group_commit.append([_terminal(channel, state, event)])
    except ChannelFinished:
        return False
    return True


def cursor(*channels: str) -> str:
    """Return the current position of ``channels``, to render into a page that will stream them.

    Call it *before* reading the page's state. The page then misses no event, and recognizes by its
    key one that is already in the state. The page's stream begins at ``?last_event_id=<cursor>``.

    Raises ``InvalidChannel``, ``InvalidCursor`` (no channel, the same one twice, more than 32) and
    ``LogUnavailable``.
    """
    names = [validate_channel(channel) for channel in channels]
    if not 1 <= len(set(names)) == len(names) <= MAX_CHANNELS:
        raise InvalidCursor(
            f"cursor() takes 1 to {MAX_CHANNELS} different channels, not {len(names)} names of "
            f"{len(set(names))} channels."
        )
    catch_up(names)
    return str(Cursor(tuple(head.position for head in get_log().open(names))))


async def acursor(*channels: str) -> str:
    """``cursor`` for coroutines."""
    return await _call(cursor, *channels)


def redact(channel: str, seq: int) -> bool:
    """Erase the event ``seq`` of ``channel`` for good, in the log and in every process's memory.

    It is meant for privacy requests. Readers skip the tombstone that is left. Returns False if
    there is no such event (any more), or it is the terminal one. Raises ``LogUnavailable``, and
    ``PublishNotAllowed`` inside a transaction: it would lock the channel until the transaction
    ends, and other processes would look before the commit.
    """
    _refuse_event_loop("redact")
    validate_channel(channel)
    if not isinstance(seq, int):
        raise TypeError(f"seq must be an int, the number in the event's id, not {seq!r:.60}.")
    log = get_log()
    _refuse_transaction(log, "redact", "channel, seq")
    done = log.redact(channel, seq)
    # Also if the event was empty already: an earlier call may have failed before it got here.
    look_again([channel])
    return done


async def aredact(channel: str, seq: int) -> bool:
    """``redact`` for coroutines."""
    return await _call(redact, channel, seq)


def delete_channel(channel: str) -> int:
    """Remove all events of ``channel`` for good, from the log and from every process's memory.

    Returns how many there were. The channel's next event goes on counting. If the channel has
    finished, it stays finished. ``manage.py sse_trim`` removes the row of the channel when its
    newest event is older than ``RETENTION["AGE"]``; a channel with that name is then a new one.

    Clients that have received all events notice nothing; others get a ``stream-reset``. Raises
    ``InvalidChannel``, ``LogUnavailable``, and ``PublishNotAllowed`` inside a transaction, as
    ``redact`` does.
    """
    _refuse_event_loop("delete_channel")
    validate_channel(channel)
    log = get_log()
    _refuse_transaction(log, "delete_channel", "channel")
    # Events that were committed before this call are removed, too.
    announce(log.sequence([channel], wait=constants.LOCK_WAIT))
    removed = log.empty(channel)
    look_again([channel])
    return removed


async def adelete_channel(channel: str) -> int:
    """``delete_channel`` for coroutines."""
    return await _call(delete_channel, channel)
