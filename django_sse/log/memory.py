"""A log in this process's memory: for tests, and for events that may be lost at a restart."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from django.db import connections, transaction
from django.utils import timezone

from django_sse import conf
from django_sse.exceptions import ChannelFinished
from django_sse.internal_channels import is_internal
from django_sse.log import keys, transactions
from django_sse.log.attempts import Attempt
from django_sse.log.base import (
    TERMINAL,
    Appended,
    Entry,
    EventLog,
    Head,
    Kind,
    Outcome,
    Page,
    Record,
)
from django_sse.log.memory_channel import MemoryChannel
from django_sse.log.retention import Limits, Swept
from django_sse.log.rules import fitting, refuse_after_end, report_dropped
from django_sse.wire.cursor import NO_TAG, make_nonce, tag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime, timedelta


class MemoryLog(EventLog):
    """A log in memory.

    ``transaction.on_commit`` keeps its deferred events, with two consequences. They are lost if
    their hook does not run because an earlier hook raised. And rolling back a savepoint by hand,
    without ``atomic()``, does not discard them.
    """

    in_memory = True

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._channels: dict[str, MemoryChannel] = {}
        self._keys: dict[int, MemoryChannel] = {}
        self._next_key = 1
        self._published = keys.KeysInMemory()

    def clear(self) -> None:
        """Remove all channels, for example between two tests."""
        with self._lock:
            self._channels.clear()
            self._keys.clear()
            self._published.clear()

    def _channel(self, name: str) -> MemoryChannel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = MemoryChannel(name, self._next_key)
            self._keys[self._next_key] = channel
            self._next_key += 1
        return channel

    def in_transaction(self) -> bool:
        return transactions.shares_fate(conf.current().DATABASE)

    def defer(self, entries: Sequence[Entry], announce: Callable[[list[Appended]], None]) -> None:
        alias = conf.current().DATABASE
        if ended := self._ended(alias, entries):
            waiting = keys.hashes([_waiting(alias)])
            entries = self._unpublished(entries, waiting)
        refuse_after_end(entries, ended)

        # Not a partial: if a robust hook fails, Django logs its __qualname__.
        def append() -> None:
            if appended := self._append_committed(entries):
                announce(appended)

        append.entries = entries  # type: ignore[attr-defined]
        transaction.on_commit(append, using=alias, robust=True)

    def _ended(self, alias: str, entries: Sequence[Entry]) -> dict[str, str]:
        """Return the states of channels that have ended or will end when this transaction commits.

        The latter are found among the transaction's hooks, from which Django removes the hooks of a
        savepoint that is rolled back.
        """
        ended = {each.channel: each.state for each in _waiting(alias) if each.kind == TERMINAL}
        with self._lock:
            return ended | self._states(entries)

    def _states(self, entries: Sequence[Entry]) -> dict[str, str]:
        """Return the states of those channels of ``entries`` that have ended."""
        found = [self._channels.get(name) for name in {each.channel for each in entries}]
        return {each.name: each.state for each in found if each is not None and each.state}

    def _append_committed(self, entries: Sequence[Entry]) -> list[Appended]:
        with self._lock:
            entries = self._unpublished(entries)
            ended = self._states(entries)
            appended, _ = self._append([each for each in entries if each.channel not in ended])
        late = Counter(each.channel for each in entries if each.channel in ended)
        for name, count in late.items():
            report_dropped(name, count)
        return appended

    def _append(
        self, entries: Sequence[Entry], nonce: int | None = None
    ) -> tuple[list[Appended], list[str]]:
        """Append ``entries``, none of which follows an end; return what was sequenced, and ids."""
        done: dict[str, Appended] = {}
        ids = []
        nonce = make_nonce() if nonce is None else nonce
        for entry in entries:
            if entry.key_hash and (id := self._published.id_of(entry.key_hash)):
                ids.append(id)
                continue
            channel = self._channel(entry.channel)
            if channel.name not in done:
                done[channel.name] = channel.appended()
            record = channel.append(entry, nonce)
            done[channel.name].records.append(record)
            ids.append(f"{channel.epoch}-{record.seq}-{tag_of(nonce)}")
            if entry.key_hash:
                self._published.add(entry.key_hash, ids[-1])
        return list(done.values()), ids

    def _unpublished(
        self, entries: Sequence[Entry], waiting: Sequence[str] = ()
    ) -> Sequence[Entry]:
        """Return ``entries`` without those whose keys an event or a waiting entry has."""

        def is_published(entry: Entry) -> bool:
            return bool(entry.key_hash in waiting or self._published.id_of(entry.key_hash))

        with self._lock:
            return keys.unpublished(entries, is_published)

    def append_each(
        self, groups: Sequence[Sequence[Entry]]
    ) -> tuple[list[Appended], list[Outcome]]:
        appended: list[Appended] = []
        outcomes: list[Outcome] = []
        for group in groups:
            with self._lock:
                if isinstance(group, Attempt):
                    done, outcome = self._try(group)
                else:
                    done, outcome = self._append_group(group)
            appended += done
            outcomes.append(outcome)
        return appended, outcomes

    def _append_group(self, group: Sequence[Entry]) -> tuple[list[Appended], Outcome]:
        try:
            new = self._unpublished(group)
            refuse_after_end(new, self._states(new))
        except ChannelFinished as error:
            return [], error
        return self._append(group)

    def _try(self, attempt: Attempt) -> tuple[list[Appended], Outcome]:
        channel = self._channels.get(attempt.channel)
        if channel is None:
            return [], attempt.refused(None, "")
        head = channel.snapshot()
        attempt.follow(head.position)
        if attempt.position == head.position and not head.state:
            if attempt.nonce is None:
                attempt.nonce = make_nonce()
            return self._append(attempt, attempt.nonce)
        if attempt.may_be_in(head.position) and channel.nonce(attempt.first) == attempt.nonce:
            return [attempt.appended(channel.key)], attempt.ids
        return [], attempt.refused(head.position, head.state)

    def sequence(self, channels: Iterable[str], *, wait: float = 0.0) -> list[Appended]:
        return []

    def orphans(self, limit: int = 100, *, after: str = "") -> list[str]:
        return []

    def open(self, channels: Sequence[str]) -> list[Head]:
        with self._lock:
            found = [self._channels.get(name) for name in channels]
            return [
                Head.empty(name, self.minute()) if each is None else each.snapshot()
                for name, each in zip(channels, found, strict=True)
            ]

    def make(self, channels: Sequence[str]) -> list[Head]:
        with self._lock:
            return [self._channel(name).snapshot() for name in channels]

    def heads(self, channels: Iterable[str]) -> dict[str, Head]:
        with self._lock:
            return {n: self._channels[n].snapshot() for n in channels if n in self._channels}

    def read(self, key: int, after: int, limit: int) -> Page:
        with self._lock:
            channel = self._keys.get(key)
            if channel is None:
                return Page(None if after else NO_TAG, [])
            start = max(0, after - channel.floor)
            page = channel.records[start : start + limit]
            records = page[: fitting(len(record.data) for record in page)]
            return Page(channel.tag(after) if after else NO_TAG, records)

    def tag(self, key: int, seq: int) -> str | None:
        with self._lock:
            channel = self._keys.get(key)
            return None if channel is None else channel.tag(seq)

    def seq_before(self, head: Head, moment: datetime) -> int:
        with self._lock:
            channel = self._keys.get(head.key)
            if channel is None:
                return head.floor
            return channel.floor + bisect_left(channel.created, moment)

    def now(self, head: Head) -> datetime:
        return timezone.now()

    def minute(self) -> int:
        return int(time.time()) // 60

    def trim(self, channel: str, *, age: timedelta | None = None, count: int | None = None) -> int:
        Limits(age, count)
        with self._lock:
            found = self._channels.get(channel)
            if found is None:
                return 0
            return found.trim(self.trim_floor(found.snapshot(), age=age, count=count))

    def sweep(
        self,
        limits: Limits,
        names: Sequence[str] = (),
        *,
        spared: Callable[[], Collection[str]] = tuple,
        dry_run: bool = False,
    ) -> Swept:
        swept = Swept()
        kept = spared()
        with self._lock:
            found = [self._channels.get(name) for name in names or self._channels]
            for each in [each for each in found if each is not None]:
                floor = each.floor
                if each.name not in kept:
                    floor = self.trim_floor(each.snapshot(), age=limits.age, count=limits.count)
                swept.events += floor - each.floor
                unneeded = floor == each.head and self._is_unneeded(each, limits)
                swept.channels += unneeded
                if not dry_run:
                    each.trim(floor)
                if unneeded and not dry_run:
                    del self._channels[each.name], self._keys[each.key]
        return swept

    def _is_unneeded(self, channel: MemoryChannel, limits: Limits) -> bool:
        age = limits.row_age
        if age is None or is_internal(channel.name):
            return False
        return channel.newest_created < timezone.now() - age

    def empty(self, channel: str) -> int:
        with self._lock:
            found = self._channels.get(channel)
            if found is None:
                return 0
            found.redactions += 1
            return found.trim(found.head)

    def remove_old_keys(self) -> int:
        with self._lock:
            return self._published.remove_old()

    def channels(self) -> list[str]:
        with self._lock:
            return list(self._channels)

    def redact(self, channel: str, seq: int) -> bool:
        with self._lock:
            found = self._channels.get(channel)
            index = seq - found.floor - 1 if found else -1
            if found is None or not 0 <= index < len(found.records):
                return False
            if found.records[index].kind != Kind.EVENT:
                return False
            found.records[index] = Record(seq, "", "", Kind.REDACTED, found.records[index].nonce)
            found.redactions += 1
            return True


def _waiting(alias: str) -> list[Entry]:
    """Return the deferred entries of the caller's transaction."""
    hooks = [hook for _, hook, *_ in connections[alias].run_on_commit]
    return [each for hook in hooks for each in getattr(hook, "entries", ())]
