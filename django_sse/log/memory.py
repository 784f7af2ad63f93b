"""A log in this process's memory: for tests, and for events that may be lost at a restart."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import connections, transaction
from django.utils import timezone

from django_sse import conf
from django_sse.exceptions import ChannelFinished
from django_sse.log import transactions
from django_sse.log.base import (
    TERMINAL,
    Appended,
    Entry,
    EventLog,
    Head,
    Kind,
    Outcome,
    Record,
    State,
    check_limits,
    fitting,
    ids_of,
    refuse_after_end,
    report_dropped,
)
from django_sse.wire.cursor import make_epoch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime, timedelta


@dataclass(slots=True)
class _Channel:
    name: str
    key: int
    epoch: str = field(default_factory=make_epoch)
    floor: int = 0
    state: str = State.OPEN
    redactions: int = 0
    records: list[Record] = field(default_factory=list)
    created: list[datetime] = field(default_factory=list)

    @property
    def head(self) -> int:
        return self.floor + len(self.records)

    def append(self, entry: Entry) -> Record:
        record = Record(self.head + 1, entry.type, entry.data, entry.kind)
        self.records.append(record)
        now = timezone.now()
        self.created.append(max(now, self.created[-1]) if self.created else now)
        if entry.kind == TERMINAL:
            self.state = entry.state
        return record

    def snapshot(self) -> Head:
        return Head(
            self.name,
            self.key,
            self.epoch,
            self.head,
            self.floor,
            self.state,
            self.redactions,
        )


class MemoryLog(EventLog):
    """A log in memory.

    ``transaction.on_commit`` keeps its deferred events, with two consequences. They are lost if
    their hook does not run because an earlier hook raised. And rolling back a savepoint by hand,
    without ``atomic()``, does not discard them.
    """

    in_memory = True

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._channels: dict[str, _Channel] = {}
        self._keys: dict[int, _Channel] = {}
        self._next_key = 1

    def clear(self) -> None:
        """Remove all channels, for example between two tests."""
        with self._lock:
            self._channels.clear()
            self._keys.clear()

    def _channel(self, name: str) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(name, self._next_key)
            self._keys[self._next_key] = channel
            self._next_key += 1
        return channel

    def in_transaction(self) -> bool:
        return transactions.shares_fate(conf.current().DATABASE)

    def defer(self, entries: Sequence[Entry], announce: Callable[[list[Appended]], None]) -> None:
        alias = conf.current().DATABASE
        refuse_after_end(entries, self._ended(alias, entries))

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
        hooks = [hook for _, hook, *_ in connections[alias].run_on_commit]
        waiting = [each for hook in hooks for each in getattr(hook, "entries", ())]
        ended = {each.channel: each.state for each in waiting if each.kind == TERMINAL}
        with self._lock:
            return ended | {n: s for n in {e.channel for e in entries} if (s := self._state(n))}

    def _append_committed(self, entries: Sequence[Entry]) -> list[Appended]:
        with self._lock:
            taken, late = self._split(entries)
            appended = self.append(taken)
        for name, count in Counter(name for name, _ in late).items():
            report_dropped(name, count)
        return appended

    def _state(self, name: str) -> str:
        channel = self._channels.get(name)
        return channel.state if channel else State.OPEN

    def _split(self, entries: Sequence[Entry]) -> tuple[list[Entry], list[tuple[str, str]]]:
        """Return the entries that can be appended, and (channel, state) for each of the others.

        The others would follow a terminal event.
        """
        taken: list[Entry] = []
        late: list[tuple[str, str]] = []
        ended: dict[str, str] = {}
        for entry in entries:
            if state := ended.get(entry.channel) or self._state(entry.channel):
                late.append((entry.channel, state))
                continue
            taken.append(entry)
            if entry.kind == TERMINAL:
                ended[entry.channel] = entry.state
        return taken, late

    def append(self, entries: Sequence[Entry]) -> list[Appended]:
        with self._lock:
            if late := self._split(entries)[1]:
                raise ChannelFinished.of(*late[0])
            done: dict[str, list[Record]] = {}
            for entry in entries:
                record = self._channel(entry.channel).append(entry)
                done.setdefault(entry.channel, []).append(record)
            return [
                Appended(name, self._channels[name].epoch, records)
                for name, records in done.items()
            ]

    def append_each(
        self, groups: Sequence[Sequence[Entry]]
    ) -> tuple[list[Appended], list[Outcome]]:
        appended: list[Appended] = []
        outcomes: list[Outcome] = []
        for group in groups:
            try:
                done = self.append(group)
            except ChannelFinished as error:
                outcomes.append(error)
            else:
                appended += done
                outcomes.append(ids_of(group, done))
        return appended, outcomes

    def finish(self, entry: Entry) -> list[Appended]:
        with self._lock:
            return [] if self._channel(entry.channel).state else self.append([entry])

    def sequence(self, channels: Iterable[str], *, wait: bool = True) -> list[Appended]:
        return []

    def orphans(self, limit: int = 100) -> list[str]:
        return []

    def open(self, channels: Sequence[str]) -> list[Head]:
        with self._lock:
            return [self._channel(name).snapshot() for name in channels]

    def heads(self, channels: Iterable[str]) -> dict[str, Head]:
        with self._lock:
            return {n: self._channels[n].snapshot() for n in channels if n in self._channels}

    def read(self, key: int, after: int, limit: int) -> list[Record]:
        with self._lock:
            channel = self._keys.get(key)
            if channel is None:
                return []
            start = max(0, after - channel.floor)
            page = channel.records[start : start + limit]
            return page[: fitting(len(record.data) for record in page)]

    def seq_before(self, head: Head, moment: datetime) -> int:
        with self._lock:
            channel = self._keys[head.key]
            return channel.floor + bisect_left(channel.created, moment)

    def now(self, head: Head) -> datetime:
        return timezone.now()

    def trim(self, channel: str, *, age: timedelta | None = None, count: int | None = None) -> int:
        check_limits(age, count)
        with self._lock:
            found = self._channels.get(channel)
            if found is None:
                return 0
            floor = self.trim_floor(found.snapshot(), age=age, count=count)
            removed = floor - found.floor
            del found.records[:removed], found.created[:removed]
            found.floor = floor
            return removed

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
            found.records[index] = Record(seq, "", "", Kind.REDACTED)
            found.redactions += 1
            return True

    def rotate(self, channel: str, epoch: str) -> bool:
        with self._lock:
            found = self._channels.get(channel)
            if found is None or found.epoch != epoch:
                return False
            found.epoch = make_epoch()
            return True
