"""A channel of the log in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.utils import timezone

from django_sse.log.base import TERMINAL, Appended, Entry, Head, Record, State
from django_sse.wire.cursor import NO_TAG, make_epoch, tag_of

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(slots=True)
class MemoryChannel:
    name: str
    key: int
    epoch: str = field(default_factory=make_epoch)
    floor: int = 0
    floor_tag: str = NO_TAG
    floor_created: datetime = field(default_factory=timezone.now)
    state: str = State.OPEN
    redactions: int = 0
    records: list[Record] = field(default_factory=list)
    created: list[datetime] = field(default_factory=list)

    @property
    def head(self) -> int:
        return self.floor + len(self.records)

    @property
    def head_tag(self) -> str:
        return tag_of(self.records[-1].nonce) if self.records else self.floor_tag

    def nonce(self, seq: int) -> int | None:
        index = seq - self.floor - 1
        return self.records[index].nonce if 0 <= index < len(self.records) else None

    def tag(self, seq: int) -> str | None:
        nonce = self.nonce(seq)
        return None if nonce is None else tag_of(nonce)

    def append(self, entry: Entry, nonce: int) -> Record:
        record = Record(self.head + 1, entry.type, entry.data, entry.kind, nonce)
        self.records.append(record)
        now = timezone.now()
        self.created.append(max(now, self.created[-1]) if self.created else now)
        if entry.kind == TERMINAL:
            self.state = entry.state
        return record

    def appended(self) -> Appended:
        """Return an empty ``Appended`` for the events that are appended from now on."""
        return Appended(self.name, self.epoch, self.head_tag, [], self.key)

    @property
    def newest_created(self) -> datetime:
        return self.created[-1] if self.created else self.floor_created

    def trim(self, floor: int) -> int:
        """Remove the events up to ``floor``; return how many there were."""
        removed = floor - self.floor
        if removed:
            self.floor_tag = tag_of(self.records[removed - 1].nonce)
            self.floor_created = self.created[removed - 1]
        del self.records[:removed], self.created[:removed]
        self.floor = floor
        return removed

    def snapshot(self) -> Head:
        return Head(
            self.name,
            self.key,
            self.epoch,
            self.head,
            self.head_tag,
            self.floor,
            self.floor_tag,
            self.state,
            self.redactions,
        )
