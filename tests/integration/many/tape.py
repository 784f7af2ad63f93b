"""What many readers of one channel have to see, kept once and compared as bytes.

Two million deliveries are too many to parse. A logged event is the same bytes for every client, so
the readers share one tape: the first to be sent an event puts it there, which checks it; all
others compare what they got with the tape, any number of events in one step.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

# An event of this test: its data is the publisher's name and the publisher's own count.
EVENT = re.compile(rb"id: (([0-9A-Za-z]+)-([0-9]+)-[0-9a-z]+)\ndata: ([^ \n]+) ([0-9]+)\n\n")
# Around the place of a difference: a few events.
_SHOWN = 200


class WrongStream(AssertionError):
    """A reader got what it should not have; the message shows both."""


@dataclass
class Tape:
    """The events from 1 on, as the wire has them: `seq` dense, each publisher's count rising."""

    data: bytearray = field(default_factory=bytearray)
    # ends[seq]: where the event `seq` ends.
    ends: list[int] = field(default_factory=lambda: [0])
    # ids[seq]: the id of the event `seq`.
    ids: list[bytes] = field(default_factory=lambda: [b""])
    epoch: bytes = b""
    counts: dict[bytes, int] = field(default_factory=dict)

    @property
    def seq(self) -> int:
        """The last event."""
        return len(self.ends) - 1

    def seq_at(self, position: int) -> int:
        """The last event that ends at `position` or before it."""
        return bisect_right(self.ends, position) - 1

    def compare(self, position: int, frames: bytes) -> None:
        """`frames`, whole ones, are what comes at `position`; beyond the end they extend the tape.

        Raises `WrongStream` for a hole, a duplicate, another order or other bytes.
        """
        known = len(self.data) - position
        if not self.data.startswith(frames[:known], position):
            raise WrongStream(self._difference(position, frames))
        if len(frames) > known:
            self._extend(frames[known:])

    def _difference(self, position: int, frames: bytes) -> str:
        common = 0
        while frames[common] == self.data[position + common]:
            common += 1
        start = max(0, common - _SHOWN)
        there = position + common
        return (
            f"after event {self.seq_at(there)} others got\n"
            f"{bytes(self.data[position + start : there + _SHOWN])!r}\nand this one got\n"
            f"{frames[start : common + _SHOWN]!r}"
        )

    def _extend(self, frames: bytes) -> None:
        place = 0
        while place < len(frames):
            event = EVENT.match(frames, place)
            if event is None or not self._follows(event):
                raise WrongStream(
                    f"after event {self.seq} (counts {self.counts}) came\n"
                    f"{frames[max(0, place - _SHOWN) : place]!r} and then\n"
                    f"{frames[place : place + _SHOWN]!r}"
                )
            self.data += event[0]
            self.ends.append(len(self.data))
            self.ids.append(event[1])
            place = event.end()

    def _follows(self, event: re.Match[bytes]) -> bool:
        _, epoch, seq, publisher, count = event.groups()
        if (epoch, int(seq)) != (self.epoch or epoch, self.seq + 1):
            return False
        if int(count) <= self.counts.get(publisher, -1):
            return False
        self.epoch = epoch
        self.counts[publisher] = int(count)
        return True
