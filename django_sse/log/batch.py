"""The events of many callers in one transaction; an error of one caller spares the others."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

from django.db import connections

from django_sse import constants
from django_sse.exceptions import ChannelFinished, ChannelLocked, LogUnavailable
from django_sse.log import keys, sequencer, transactions
from django_sse.log.attempts import Attempt
from django_sse.log.base import Appended, Entry, Outcome
from django_sse.log.rules import refuse_after_end
from django_sse.log.statements import statements
from django_sse.models import Channel
from django_sse.wire.cursor import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from django_sse.log.locked import Locked

logger = logging.getLogger("django_sse")


def append_each(
    alias: str, groups: Sequence[Sequence[Entry]]
) -> tuple[list[Appended], list[Outcome]]:
    """See ``EventLog.append_each``."""
    ends = time.monotonic() + constants.LOCK_WAIT
    if len(groups) == 1:
        return _append(_Transaction(alias, groups, wait=constants.LOCK_WAIT))
    appended, outcomes = append_free(alias, groups)
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ChannelLocked):
            left = max(0.0, ends - time.monotonic())
            one = _Transaction(alias, [groups[index]], wait=left, first=outcome.channel)
            more, (outcomes[index],) = _append(one)
            appended += more
    return appended, outcomes


def append_free(
    alias: str, groups: Sequence[Sequence[Entry]]
) -> tuple[list[Appended], list[Outcome]]:
    """See ``EventLog.append_free``."""
    return _append(_Transaction(alias, groups))


def append_queued(
    alias: str, channel: str, join: Callable[[], Sequence[Sequence[Entry]]]
) -> tuple[list[Appended], list[Outcome]]:
    """See ``EventLog.append_queued``."""
    return _append(_Transaction(alias, (), first=channel, join=join))


def _append(together: _Transaction) -> tuple[list[Appended], list[Outcome]]:
    try:
        return together.run()
    # Any error: one caller's error must not fail all the others.
    except Exception as error:
        groups = together.groups
        if not groups:
            raise
        if isinstance(error, ChannelLocked):
            return [], [ChannelLocked(error.channel) for _ in groups]
        if len(groups) == 1:
            return [], [error]
        if together.is_beyond_doubt(error) and _answers(together.alias):
            logger.warning(
                "Could not append the events of %d callers together (%s); "
                "appending each caller's separately.",
                len(groups),
                error,
            )
            return _one_by_one(together)
        return [], [_for_each_caller(error) for _ in groups]


class _Transaction:
    """One transaction for ``groups``, which waits for locked channels as ``sequence`` does.

    ``join``, if given, is called after the wait for the channel ``first`` and returns the groups.
    """

    def __init__(
        self,
        alias: str,
        groups: Sequence[Sequence[Entry]],
        *,
        wait: float = 0.0,
        first: str = "",
        join: Callable[[], Sequence[Sequence[Entry]]] | None = None,
    ) -> None:
        self.alias, self.groups = alias, groups
        self.wait, self._first, self._join = wait, first, join
        self._committing = False
        self._found: list[Appended] = []

    def run(self) -> tuple[list[Appended], list[Outcome]]:
        take, before_commit = self._take, self._before_commit
        if self._join is not None:
            appended, outcomes = sequencer.sequence_queued(
                self.alias, self._first, self._joined, take, before_commit
            )
        else:
            names, never_make = self._channels()
            appended, outcomes = sequencer.sequence(
                self.alias,
                names,
                take,
                before_commit,
                wait=self.wait,
                first=self._first,
                never_make=never_make,
            )
        return self._found + appended, outcomes

    def _joined(self) -> tuple[list[str], set[str]]:
        assert self._join is not None
        self.groups = self._join()
        return self._channels()

    def _channels(self) -> tuple[list[str], set[str]]:
        """Return the channels of all groups, and those of them that must not be created."""
        names = dict.fromkeys(entry.channel for group in self.groups for entry in group)
        return list(names), self._never_make()

    def _never_make(self) -> set[str]:
        """Return the channels that only attempts have."""
        attempted = {group.channel for group in self.groups if isinstance(group, Attempt)}
        if not attempted:
            return attempted
        others = [group for group in self.groups if not isinstance(group, Attempt)]
        return attempted.difference(entry.channel for group in others for entry in group)

    def _take(self, locked: Mapping[str, Locked], skipped: Collection[str]) -> list[Outcome]:
        self._committing = False
        self._found = []
        take = _take_group
        if wanted := keys.hashes(self.groups):
            take = _take_keyed
            with connections[self.alias].cursor() as cursor:
                keys.look_up(cursor, locked.values(), wanted)
        behind = _Behind({*skipped, *(name for name, each in locked.items() if each.behind)})
        return [
            behind.refuse(group)
            or (
                self._try(locked.get(group.channel), group)
                if isinstance(group, Attempt)
                else take(locked, group)
            )
            for group in self.groups
        ]

    def _try(self, channel: Locked | None, attempt: Attempt) -> Outcome:
        if channel is None:
            return attempt.refused(None, "")
        if attempt.anywhere:
            attempt.follow(Position(channel.epoch, channel.head, channel.tag))
        if attempt.position == (channel.epoch, channel.head, channel.tag):
            return _take_attempt(channel, attempt)
        head = Position(channel.epoch, channel.head, channel.tag)
        if attempt.may_be_in(head) and self._nonce(channel, attempt.first) == attempt.nonce:
            self._found.append(attempt.appended(channel.key))
            return attempt.ids
        return attempt.refused(head, channel.state)

    def _nonce(self, channel: Locked, seq: int) -> int | None:
        """Return the nonce of an event of a locked ``channel``."""
        unwritten = seq - (channel.head - len(channel.records)) - 1
        if unwritten >= 0:
            return channel.records[unwritten].nonce
        with connections[self.alias].cursor() as cursor:
            cursor.execute(statements(cursor.db).nonce, [channel.key, seq])
            row = cursor.fetchone()
        return row[0] if row else None

    def _before_commit(self) -> None:
        self._committing = True

    def is_beyond_doubt(self, error: Exception) -> bool:
        """Return whether nothing was committed, and no lock of another transaction was the cause.

        Waiting for such a lock again, for each caller, would take minutes.
        """
        cause = error.__cause__
        return not self._committing and not (cause and transactions.may_be_tried_again(cause))


def _take_group(locked: Mapping[str, Locked], group: Sequence[Entry]) -> Outcome:
    counts = Counter(each.channel for each in group)
    if error := _refusal(locked, group, counts):
        return error
    if len(counts) == 1:
        return locked[group[0].channel].extend(group)
    return [locked[each.channel].append(each) for each in group]


def _take_keyed(locked: Mapping[str, Locked], group: Sequence[Entry]) -> Outcome:
    new = keys.unpublished(group, lambda each: each.key_hash in locked[each.channel].ids)
    if error := _refusal(locked, new, Counter(each.channel for each in new)):
        return error
    return [keys.append(locked[each.channel], each) for each in group]


def _refusal(
    locked: Mapping[str, Locked], group: Sequence[Entry], counts: Mapping[str, int]
) -> ChannelFinished | None:
    """Return the error of a group whose entries cannot all be appended, or None."""
    try:
        refuse_after_end(group, {name: locked[name].state for name in counts})
        for name, count in counts.items():
            locked[name].refuse_beyond_last(count)
    except ChannelFinished as error:
        return error
    return None


def _take_attempt(channel: Locked, attempt: Attempt) -> Outcome:
    if attempt.nonce is not None:
        # This transaction has not written to the channel yet, because an attempt cannot follow
        # events of the same transaction. So one nonce for the channel is enough.
        channel.nonce = attempt.nonce
    try:
        channel.refuse_beyond_last(len(attempt))
        ids = channel.extend(attempt)
    except ChannelFinished as error:
        return error
    attempt.nonce = channel.nonce
    return ids


def _answers(alias: str) -> bool:
    """Return whether the database responds: if so, the data caused the error."""
    try:
        transactions.run(alias, Channel.objects.using(alias).order_by().exists)
    except LogUnavailable:
        return False
    return True


def _one_by_one(together: _Transaction) -> tuple[list[Appended], list[Outcome]]:
    alias, wait, groups = together.alias, together.wait, together.groups
    appended: list[Appended] = []
    outcomes: list[Outcome] = []
    behind = _Behind(set())
    for index, group in enumerate(groups):
        if refused := behind.refuse(group):
            outcomes.append(refused)
            continue
        done, (outcome,) = _append(_Transaction(alias, [group], wait=wait))
        appended += done
        outcomes.append(outcome)
        if isinstance(outcome, ChannelLocked):
            behind.add(group)
        elif isinstance(outcome, LogUnavailable) and not _answers(alias):
            outcomes += [_for_each_caller(outcome) for _ in groups[index + 1 :]]
            break
    return appended, outcomes


class _Behind:
    """The channels for which a group waits. Later groups with these channels wait, too."""

    def __init__(self, channels: set[str]) -> None:
        self._channels = channels

    def refuse(self, group: Sequence[Entry]) -> ChannelLocked | None:
        """Return the outcome of ``group`` if it has to wait, else None."""
        if not self._channels:
            return None
        first = next((each.channel for each in group if each.channel in self._channels), None)
        if first is None:
            return None
        self.add(group)
        return ChannelLocked(first)

    def add(self, group: Sequence[Entry]) -> None:
        """Make later groups with the channels of ``group`` wait."""
        self._channels.update(each.channel for each in group)


def _for_each_caller(error: Exception) -> LogUnavailable:
    """Return a copy of the error for one caller: raising it adds that caller's traceback to it."""
    copy = LogUnavailable(*error.args) if isinstance(error, LogUnavailable) else None
    copy = copy or LogUnavailable(f"The event log could not be written: {error}")
    copy.__cause__ = error.__cause__ or error
    return copy
