"""The contract of a log.

A log holds channels; a channel is a sequence of events numbered 1, 2, 3 … without holes.

- **Dense, in sequencing order.** A reader that has seen ``n`` never later learns of an ``m < n``.
  An append that starts after another one returned comes after it.
- **Fate.** An event is readable only once it is committed. An event that was deferred inside the
  caller's transaction becomes readable after its commit, or never.
- **No writer waits while it holds a lock that others want.** An append over several channels waits
  for a locked channel only while it has locked no other. Each wait is bounded; after that the
  outcome is ``ChannelLocked``.
- **Readers do not wait for publishers.** Sequencing on behalf of a reader skips a channel that is
  locked; the holder of the lock sequences it, or a later poll does. The reader's position may then
  be before a committed event, which it receives live. The position is never after an event that the
  reader did not receive.
- **Finished is final.** After a channel's terminal event an append meets ``ChannelFinished``. So
  does ``defer`` if it can see a terminal event, sequenced or deferred. A deferred event that still
  comes later is dropped, logged and signalled.
- **Readers detect holes.** ``read`` returns the stored events after a position. A reader compares
  the first row with its position, and an empty page with the head that it knew *before* the read.
- **Epoch.** It is random, and is created and removed with the channel's row. A channel without a
  row has an empty epoch (``django_sse.log.empty``). The first append makes the row.
- **Tag.** Each append draws a random nonce. It is stored with its events, and their tag is made
  from it. After a log was rewound (restored from an older copy, say), its new events have the
  numbers of the lost ones, but other tags. So epoch, seq and tag together identify an event, and a
  reader compares all three.
- **A retry appends nothing twice.** A COMMIT whose answer was lost may be carried out later. So a
  group that may be appended again is an ``Attempt``. The log compares it with the channel while the
  channel is locked.
- **A key names one event.** For ``KEY_AGE`` after an event was sequenced, an entry of the same
  channel with the same key is not appended. Its id is that event's, even after the channel's end
  and after the event was removed. A deferred entry with that key is dropped silently.

All methods are synchronous, may be called from any thread, and raise ``LogUnavailable`` if the
storage does not answer.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from django_sse.log.head import Head
from django_sse.log.retention import Limits
from django_sse.models import Kind, State
from django_sse.wire.cursor import Position, tag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime, timedelta

    from django_sse.log.retention import Swept

__all__ = [
    "Appended",
    "Entry",
    "EventLog",
    "Head",
    "Kind",
    "Outcome",
    "Page",
    "Record",
    "State",
]

logger = logging.getLogger("django_sse")

# Plain ints for checks on every event: on Python 3.11 looking up an enum member costs as much as
# the rest of the check.
TERMINAL = int(Kind.TERMINAL)
REDACTED = int(Kind.REDACTED)

KEY_AGE = 24 * 60 * 60
"""Seconds for which a key names its event."""

PAGE_CHARACTERS = 256 << 10
"""Limits a page's data, so that a page of large events needs no more memory than one of small."""


class Entry(NamedTuple):
    """An event on its way into the log; made by ``django_sse.log.entries``.

    ``key_hash`` is a hash of the channel and the event's key, or empty for an event without a key.
    """

    channel: str
    type: str
    data: str
    kind: int = Kind.EVENT
    state: str = State.OPEN
    key_hash: str = ""


class Record(NamedTuple):
    """An event of the log. ``nonce`` is the random number of the append that made it."""

    seq: int
    type: str
    data: str
    kind: int
    nonce: int


# NamedTuple's own constructors are Python functions and cost twice as much. These take a tuple of
# all fields.
new_entry: Callable[[tuple[str, str, str, int, str, str]], Entry] = partial(tuple.__new__, Entry)
new_record: Callable[[tuple[int, str, str, int, int]], Record] = partial(tuple.__new__, Record)


@dataclass(frozen=True, slots=True)
class Page:
    """Stored events, in order, and the ``tag`` of the event before them.

    The tag is None if that event is no longer stored.
    """

    tag: str | None
    records: list[Record]


@dataclass(frozen=True, slots=True)
class Appended:
    """Events of one channel that were sequenced together, in order; never empty.

    ``before`` is the tag of the event before them. If very many were deferred, these are only the
    newest: readers find the others in the log.
    """

    channel: str
    epoch: str
    before: str
    records: list[Record]
    key: int = 0
    """The channel's; see ``Head``. 0 if it is not known."""

    @property
    def position(self) -> Position:
        """The position after the last of the events."""
        last = self.records[-1]
        return Position(self.epoch, last.seq, tag_of(last.nonce))


# For the entries of one caller: their ids, in order, or the error that kept all of them out.
Outcome: TypeAlias = "list[str] | Exception"


class EventLog(ABC):
    """The interface of a log; the module's docstring has the rules for every implementation."""

    in_memory = False
    """Whether every method returns without waiting, and no other process can see the log."""

    @abstractmethod
    def in_transaction(self) -> bool:
        """Return whether the caller is inside a transaction whose fate its events must share.

        Raises ``PublishNotAllowed`` if autocommit is off: then no promise could be kept.
        """

    @abstractmethod
    def defer(self, entries: Sequence[Entry], announce: Callable[[list[Appended]], None]) -> None:
        """Store ``entries`` in the caller's transaction, to be sequenced after its commit.

        ``announce`` is then called with the events that were sequenced. Raises ``ChannelFinished``.
        """

    @abstractmethod
    def append_each(
        self, groups: Sequence[Sequence[Entry]]
    ) -> tuple[list[Appended], list[Outcome]]:
        """Sequence and commit the groups of one or several callers, in order.

        Returns what was sequenced, the committed deferred events of these channels first, and the
        outcome of each group: the ids of its entries, or an error that does not affect the other
        groups, such as ``ChannelFinished``. Each group is appended completely or not at all. A
        group that may already be committed is not tried again.

        A group that is an ``Attempt`` never creates its channel. If an earlier try has committed
        it, its outcome is the ids from then, and it is returned as sequenced again. It is refused
        with ``Rewound`` if the channel is not at its position.

        A group with a locked channel waits for it at most ``LOCK_WAIT`` seconds. The other groups
        do not wait for that.
        """

    def append_free(
        self, groups: Sequence[Sequence[Entry]]
    ) -> tuple[list[Appended], list[Outcome]]:
        """As ``append_each``, but without waiting.

        The outcome of a group with a locked channel is ``ChannelLocked``. So is that of each later
        group that shares a channel with such a group.
        """
        return self.append_each(groups)

    def append_queued(
        self, channel: str, join: Callable[[], Sequence[Sequence[Entry]]]
    ) -> tuple[list[Appended], list[Outcome]]:
        """Wait up to a second for the lock of ``channel``, then do as ``append_free`` does.

        ``join`` is called once, when the wait is over, and returns the groups. Raises
        ``ChannelLocked`` if the channel stays locked, and any error before ``join`` is called.
        """
        return self.append_each(join())

    @abstractmethod
    def sequence(self, channels: Iterable[str], *, wait: float = 0.0) -> list[Appended]:
        """Sequence the committed deferred events of ``channels`` that are not sequenced yet.

        Locked channels are skipped, if the storage supports that, after a wait of at most ``wait``
        seconds for all of them. A publisher that has just committed must wait, because the holder
        of the lock may have looked for deferred events before the commit. A reader must not wait.

        Inside the caller's transaction nothing is sequenced: the events would be announced before
        they are committed, and the channels would stay locked until the transaction ends.
        """

    @abstractmethod
    def orphans(self, limit: int = 100, *, after: str = "") -> list[str]:
        """Return channels with committed events that are not sequenced yet.

        The order is the log's own. ``after`` is the last channel of the page before.
        """

    @abstractmethod
    def open(self, channels: Sequence[str]) -> list[Head]:
        """Return the heads of ``channels`` in their order; ``Head.empty`` for one without a row."""

    @abstractmethod
    def make(self, channels: Sequence[str]) -> list[Head]:
        """Return the heads of ``channels`` in their order, after making the rows that are missing.

        For a channel whose epoch has to be known before its first event.
        """

    @abstractmethod
    def heads(self, channels: Iterable[str]) -> dict[str, Head]:
        """Return the heads of the ``channels`` that exist."""

    @abstractmethod
    def read(self, key: int, after: int, limit: int) -> Page:
        """Return at most ``limit`` stored records with ``seq > after``, in ascending order.

        If their data has more than ``PAGE_CHARACTERS``, the page is shorter, but not empty.
        """

    @abstractmethod
    def tag(self, key: int, seq: int) -> str | None:
        """Return the tag of the event ``seq``, or None if it is not stored."""

    @abstractmethod
    def seq_before(self, head: Head, moment: datetime) -> int:
        """Return the highest seq of an event older than ``moment``, at least ``head.floor``."""

    @abstractmethod
    def now(self, head: Head) -> datetime:
        """Return the current time of the clock that stamps the channel's events."""

    @abstractmethod
    def minute(self) -> int:
        """Return the minutes since 1970 of the clock that stamps the events."""

    def trim_floor(
        self, head: Head, *, age: timedelta | None = None, count: int | None = None
    ) -> int:
        """Return the highest seq that ``trim`` would remove, at least ``head.floor``.

        Raises ``ValueError`` for a negative limit.
        """
        Limits(age, count)
        floor = head.floor if count is None else max(head.floor, head.head - count)
        if age is not None:
            floor = max(floor, self.seq_before(head, self.now(head) - age))
        return floor

    @abstractmethod
    def trim(self, channel: str, *, age: timedelta | None = None, count: int | None = None) -> int:
        """Remove events older than ``age``, and all but the newest ``count``.

        Returns the number of removed events. Raises ``ValueError`` for a negative limit.
        """

    @abstractmethod
    def sweep(
        self,
        limits: Limits,
        names: Sequence[str] = (),
        *,
        spared: Callable[[], Collection[str]] = tuple,
        dry_run: bool = False,
    ) -> Swept:
        """Trim all channels, or those ``names``, and remove rows that are no longer needed.

        No event of the channels in ``spared()`` is removed; it is called after the channels to trim
        were read. The rows of internal channels stay.
        """

    @abstractmethod
    def empty(self, channel: str) -> int:
        """Remove all stored events of a channel, and have processes drop what they hold of it.

        Returns the number of removed events.
        """

    @abstractmethod
    def remove_old_keys(self) -> int:
        """Remove the keys that are older than ``KEY_AGE``; return how many there were."""

    @abstractmethod
    def channels(self) -> Iterable[str]:
        """Return the names of all channels."""

    @abstractmethod
    def redact(self, channel: str, seq: int) -> bool:
        """Replace one event with a tombstone, for good; return False if there is no such event."""
