"""The events of many callers in one transaction; an error of one caller spares the others."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from django.db import connections

from django_sse.exceptions import ChannelFinished, LogUnavailable
from django_sse.log import keys, sequencer, transactions
from django_sse.log.attempts import Attempt
from django_sse.log.base import Appended, Entry, Outcome, refuse_after_end
from django_sse.log.statements import statements
from django_sse.models import Channel
from django_sse.wire.cursor import Position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger("django_sse")


def append_each(
    alias: str, groups: Sequence[Sequence[Entry]]
) -> tuple[list[Appended], list[Outcome]]:
    """See ``EventLog.append_each``."""
    together = _Transaction(alias, groups)
    try:
        return together.run()
    # Any error: one caller's error must not fail all the others.
    except Exception as error:
        if len(groups) == 1:
            return [], [error]
        if together.is_beyond_doubt(error) and _answers(alias):
            logger.warning(
                "Could not append the events of %d callers together (%s); "
                "appending each caller's separately.",
                len(groups),
                error,
            )
            return _one_by_one(alias, groups)
        return [], [_for_each_caller(error) for _ in groups]


class _Transaction:
    def __init__(self, alias: str, groups: Sequence[Sequence[Entry]]) -> None:
        self._alias, self._groups = alias, groups
        self._committing = False
        self._found: list[Appended] = []

    def run(self) -> tuple[list[Appended], list[Outcome]]:
        names = dict.fromkeys(entry.channel for group in self._groups for entry in group)
        appended, outcomes = sequencer.sequence(
            self._alias, names, self._take, self._before_commit, never_make=self._never_make()
        )
        return self._found + appended, outcomes

    def _never_make(self) -> set[str]:
        """Return the channels that only attempts are for."""
        attempted = {group.channel for group in self._groups if isinstance(group, Attempt)}
        if not attempted:
            return attempted
        others = [group for group in self._groups if not isinstance(group, Attempt)]
        return attempted.difference(entry.channel for group in others for entry in group)

    def _take(self, locked: Mapping[str, sequencer.Locked]) -> list[Outcome]:
        self._committing = False
        self._found = []
        take = _take_group
        if wanted := keys.hashes(self._groups):
            take = _take_keyed
            with connections[self._alias].cursor() as cursor:
                keys.look_up(cursor, locked.values(), wanted)
        return [
            self._try(locked.get(group.channel), group)
            if isinstance(group, Attempt)
            else take(locked, group)
            for group in self._groups
        ]

    def _try(self, channel: sequencer.Locked | None, attempt: Attempt) -> Outcome:
        if channel is None:
            return attempt.refused(None, "")
        if attempt.position == (channel.epoch, channel.head, channel.tag):
            return _take_attempt(channel, attempt)
        head = Position(channel.epoch, channel.head, channel.tag)
        if attempt.may_be_in(head) and self._nonce(channel, attempt.first) == attempt.nonce:
            self._found.append(attempt.appended(channel.key))
            return attempt.ids
        return attempt.refused(head, channel.state)

    def _nonce(self, channel: sequencer.Locked, seq: int) -> int | None:
        """Return the nonce of an event of a locked ``channel``."""
        unwritten = seq - (channel.head - len(channel.records)) - 1
        if unwritten >= 0:
            return channel.records[unwritten].nonce
        with connections[self._alias].cursor() as cursor:
            cursor.execute(statements(cursor.db).nonce, [channel.key, seq])
            row = cursor.fetchone()
        return row[0] if row else None

    def _before_commit(self) -> None:
        self._committing = True

    def is_beyond_doubt(self, error: Exception) -> bool:
        """Return whether nothing was committed, and another transaction's lock was not the cause.

        Waiting for that lock again, for each caller, would take minutes.
        """
        cause = error.__cause__
        return not self._committing and not (cause and transactions.may_be_tried_again(cause))


def _take_group(locked: Mapping[str, sequencer.Locked], group: Sequence[Entry]) -> Outcome:
    counts = Counter(each.channel for each in group)
    if error := _refusal(locked, group, counts):
        return error
    if len(counts) == 1:
        return locked[group[0].channel].extend(group)
    return [locked[each.channel].append(each) for each in group]


def _take_keyed(locked: Mapping[str, sequencer.Locked], group: Sequence[Entry]) -> Outcome:
    new = keys.unpublished(group, lambda each: each.key_hash in locked[each.channel].ids)
    if error := _refusal(locked, new, Counter(each.channel for each in new)):
        return error
    return [keys.append(locked[each.channel], each) for each in group]


def _refusal(
    locked: Mapping[str, sequencer.Locked], group: Sequence[Entry], counts: Mapping[str, int]
) -> ChannelFinished | None:
    """Return the error for a group of which not all entries can be appended."""
    try:
        refuse_after_end(group, {name: locked[name].state for name in counts})
        for name, count in counts.items():
            locked[name].refuse_beyond_last(count)
    except ChannelFinished as error:
        return error
    return None


def _take_attempt(channel: sequencer.Locked, attempt: Attempt) -> Outcome:
    if attempt.nonce is not None:
        # This transaction has written nothing to the channel yet: its own events are not a head
        # that anybody could expect. So one nonce for the channel is enough.
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


def _one_by_one(
    alias: str, groups: Sequence[Sequence[Entry]]
) -> tuple[list[Appended], list[Outcome]]:
    appended: list[Appended] = []
    outcomes: list[Outcome] = []
    for index, group in enumerate(groups):
        done, (outcome,) = append_each(alias, [group])
        appended += done
        outcomes.append(outcome)
        if isinstance(outcome, LogUnavailable) and not _answers(alias):
            outcomes += [_for_each_caller(outcome) for _ in groups[index + 1 :]]
            break
    return appended, outcomes


def _for_each_caller(error: Exception) -> LogUnavailable:
    """Return a copy of the error for one caller: raising it adds that caller's traceback to it."""
    copy = LogUnavailable(*error.args) if isinstance(error, LogUnavailable) else None
    copy = copy or LogUnavailable(f"The event log could not be written: {error}")
    copy.__cause__ = error.__cause__ or error
    return copy
