"""The contract of a log.

A log holds channels; a channel is a sequence of events numbered 1, 2, 3 … without holes.

- **Dense, in sequencing order.** A reader that has seen ``n`` never later learns of an ``m < n``.
  An append that starts after another one returned comes after it.
- **Fate.** An event is readable only once it is committed. What is deferred inside the caller's
  transaction becomes readable after its commit, or never.
- **Readers wait for no publisher.** Sequencing on behalf of a reader leaves a channel that another
  has locked to whoever has it, or to a later look. The reader's position may then be before a
  committed event, which comes to it live; it is never after one that it was not given.
- **Finished is final.** After a channel's terminal event ``append`` raises ``ChannelFinished``, and
  so does ``defer`` where it can see one, sequenced or itself deferred. What was deferred and comes
  later all the same is dropped, logged and signalled.
- **Holes are the reader's to find.** ``read`` returns what is stored after a position; a reader
  compares the first row with its position, and an empty page with the head it knew *before* that.
- **Epoch.** Random, made with the channel. A log that was wiped, or rewound and rotated, has a new
  one.

All methods are synchronous, may be called from any thread and raise ``LogUnavailable`` when the
storage does not answer.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from django_sse.exceptions import ChannelFinished
from django_sse.models import Kind, State
from django_sse.signals import events_dropped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

__all__ = ["Appended", "Entry", "EventLog", "Head", "Kind", "Outcome", "Record", "State"]

logger = logging.getLogger("django_sse")

# As numbers, for what is asked of every event: on Python 3.11 a member of an enum costs as much to
# look up as all the rest of it.
TERMINAL = int(Kind.TERMINAL)
REDACTED = int(Kind.REDACTED)

PAGE_CHARACTERS = 256 << 10
"""A page of large events must not need more memory than one of small ones."""


class Entry(NamedTuple):
    """An event on its way into the log; made by ``django_sse.log.entries``."""

    channel: str
    type: str
    data: str
    kind: int = Kind.EVENT
    state: str = State.OPEN


class Record(NamedTuple):
    """An event of the log."""

    seq: int
    type: str
    data: str
    kind: int = Kind.EVENT


# The classes' own makers are functions of Python's, which cost twice as much; these take a tuple of
# all fields, for what is made of every event.
new_entry: Callable[[tuple[str, str, str, int, str]], Entry] = partial(tuple.__new__, Entry)
new_record: Callable[[tuple[int, str, str, int]], Record] = partial(tuple.__new__, Record)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a channel stands. ``key`` is what ``read`` takes; it lives as long as the rows do."""

    channel: str
    key: int
    epoch: str
    head: int
    floor: int
    state: str
    redactions: int


@dataclass(frozen=True, slots=True)
class Appended:
    """Events that were sequenced together, in order; never empty. Of very many that were deferred
    it has the newest: a reader finds those before it in the log."""

    channel: str
    epoch: str
    records: Sequence[Record]


# Of the entries of one caller: their ids, in order, or why none of them is in the log.
Outcome: TypeAlias = "list[str] | Exception"


class EventLog(ABC):
    """See the module's docstring for what every implementation must hold."""

    in_memory = False
    """Whether every method returns at once, and no other process can see the log."""

    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether the caller is inside a transaction whose fate its events must share.

        Raises ``PublishNotAllowed`` where no promise can be kept (autocommit is off).
        """

    @abstractmethod
    def defer(self, entries: Sequence[Entry], announce: Callable[[list[Appended]], None]) -> None:
        """Hand over ``entries`` with the caller's transaction; ``announce`` is called with what
        its commit sequenced. Raises ``ChannelFinished``."""

    @abstractmethod
    def append(self, entries: Sequence[Entry]) -> list[Appended]:
        """Sequence and commit ``entries`` together, after what was deferred and committed before.

        One ``Appended`` a channel, with the deferred events first. All of ``entries`` or none.
        Raises ``ChannelFinished``.
        """

    @abstractmethod
    def append_each(
        self, groups: Sequence[Sequence[Entry]]
    ) -> tuple[list[Appended], list[Outcome]]:
        """``append`` for several callers at once, in their order, outside of any transaction.

        Each group is all or none for itself; its outcome is the ids of its entries or the error
        that it alone meets. A group that may be committed all the same is not tried again.
        """

    @abstractmethod
    def finish(self, entry: Entry) -> list[Appended]:
        """Append the terminal ``entry``; empty when the channel has a terminal state already."""

    @abstractmethod
    def sequence(self, channels: Iterable[str], *, wait: bool = True) -> list[Appended]:
        """Sequence what was deferred for ``channels``, committed, and not yet sequenced.

        Who has just committed has to ``wait`` for a channel that another has locked: the other may
        have looked for deferred events before. Who reads does not: what is locked is left out,
        where the storage can tell.

        Nothing inside a transaction of the caller's: what it sequenced would be announced before
        it is committed, and the channels would be locked to the transaction's end.
        """

    @abstractmethod
    def orphans(self, limit: int = 100) -> list[str]:
        """Channels with committed events that nobody has sequenced yet."""

    @abstractmethod
    def open(self, channels: Sequence[str]) -> list[Head]:
        """The heads of ``channels`` in their order; a channel that is not there is made."""

    @abstractmethod
    def heads(self, channels: Iterable[str]) -> dict[str, Head]:
        """The heads of those of ``channels`` that are there."""

    @abstractmethod
    def read(self, key: int, after: int, limit: int) -> list[Record]:
        """At most ``limit`` stored records with ``seq > after``, ascending; fewer, but at least
        one, where their data has more than ``PAGE_CHARACTERS``."""

    @abstractmethod
    def seq_before(self, head: Head, moment: datetime) -> int:
        """The highest seq whose event is older than ``moment``, at least ``head.floor``."""

    @abstractmethod
    def now(self, head: Head) -> datetime:
        """The clock that the channel's events are stamped by."""

    def trim_floor(
        self, head: Head, *, age: timedelta | None = None, count: int | None = None
    ) -> int:
        """The highest seq that ``trim`` would remove, at least ``head.floor``.

        Raises ``ValueError`` for a negative limit.
        """
        check_limits(age, count)
        floor = head.floor if count is None else max(head.floor, head.head - count)
        if age is not None:
            floor = max(floor, self.seq_before(head, self.now(head) - age))
        return floor

    @abstractmethod
    def trim(self, channel: str, *, age: timedelta | None = None, count: int | None = None) -> int:
        """Remove events older than ``age`` and all but the newest ``count``; how many went.

        Raises ``ValueError`` for a negative limit.
        """

    @abstractmethod
    def channels(self) -> Iterable[str]:
        """The names of all channels."""

    @abstractmethod
    def redact(self, channel: str, seq: int) -> bool:
        """Empty one event for good, leaving a tombstone; False when there is no such event."""

    @abstractmethod
    def rotate(self, channel: str, epoch: str) -> bool:
        """Give ``channel`` a new epoch if it still has ``epoch``; False when it has not."""


def fitting(sizes: Iterable[int]) -> int:
    """How many of the events of these ``sizes`` make a page: at least one."""
    total = 0
    count = 0
    for size in sizes:
        total += size
        if count and total > PAGE_CHARACTERS:
            break
        count += 1
    return count


def ids_of(entries: Sequence[Entry], appended: Iterable[Appended]) -> list[str]:
    """The ids of ``entries`` in their order, out of what ``append`` returned for them."""
    wanted = Counter(entry.channel for entry in entries)
    # A channel's newest records are these entries: what was deferred came before them.
    own = {
        each.channel: iter([f"{each.epoch}-{r.seq}" for r in each.records[-wanted[each.channel] :]])
        for each in appended
    }
    return [next(own[entry.channel]) for entry in entries]


def refuse_after_end(entries: Iterable[Entry], ended: Mapping[str, str]) -> None:
    """Raises ``ChannelFinished`` for an entry behind the end of its channel: one of ``ended``
    (channel and state), or one among the ``entries``."""
    states = dict(ended)
    for entry in entries:
        if state := states.get(entry.channel):
            raise ChannelFinished.of(entry.channel, state)
        if entry.kind == TERMINAL:
            states[entry.channel] = entry.state


def report_dropped(channel: str, count: int) -> None:
    """Say in the log and by signal that deferred events came after the channel's end."""
    logger.warning(
        "%d events for the channel %r were committed after it had finished: dropped.",
        count,
        channel,
    )
    # Robust: what was sequenced beside them is committed and still has to be announced.
    events_dropped.send_robust(EventLog, channel=channel, count=count)


def check_limits(age: timedelta | None, count: int | None) -> None:
    """Raises ``ValueError`` for what ``trim`` cannot mean: a floor above the head."""
    if count is not None and count < 0:
        raise ValueError(f"The number of events to keep must not be negative, but is {count}.")
    if age is not None and age.total_seconds() < 0:
        raise ValueError(f"The age of the events to keep must not be negative, but is {age}.")
