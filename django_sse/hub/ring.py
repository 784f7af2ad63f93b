"""The newest frames of one channel, in memory, shared by all its streams."""

from __future__ import annotations

import logging
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from django_sse.log.base import REDACTED, TERMINAL
from django_sse.wire.cursor import tag_of
from django_sse.wire.encoder import encode_body, with_id
from django_sse.wire.errors import InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from django_sse.log.base import Record

logger = logging.getLogger("django_sse")

# The number of joined slices to keep. Most clients are at the same position, the others at a few.
_CACHED_SLICES = 8


class Frame(NamedTuple):
    """An encoded event; ``data`` begins with the id that a single-channel stream sends.

    A redacted event is an empty frame: it moves the cursor, but sends nothing.
    """

    seq: int
    tag: str
    data: bytes
    id_size: int
    terminal: bool

    @property
    def body(self) -> bytes:
        """The frame without its id, for streams of several channels."""
        return self.data[self.id_size :]


# Frame's own constructor is a Python function and costs twice as much.
_new_frame: Callable[[tuple[int, str, bytes, int, bool]], Frame] = partial(tuple.__new__, Frame)


@lru_cache(maxsize=1024)
def _id_line(epoch: str) -> bytes:
    """Return the beginning of an event's id line; it is validated once for each epoch."""
    return with_id(epoch, b"").rstrip(b"\n")


def encode_records(epoch: str, records: Iterable[Record]) -> list[Frame]:
    """Return the frames of records of the log."""
    frames: list[Frame] = []
    id_line, nonce, tag = _id_line(epoch), -1, b""
    for seq, type, data, kind, its_nonce in records:
        if its_nonce != nonce:
            # The events of one transaction have the same nonce.
            nonce, text = its_nonce, tag_of(its_nonce)
            tag = text.encode()
        frame, size = b"", 0
        if kind != REDACTED:
            try:
                body = encode_body(type or None, data)
            except InvalidEvent:
                # publish() did not write this event. Skip it: raising would block the channel.
                logger.exception("Event %d of epoch %s cannot be sent: skipped.", seq, epoch)
            else:
                frame = b"%b-%d-%b\n%b" % (id_line, seq, tag, body)
                size = len(frame) - len(body)
        frames.append(_new_frame((seq, text, frame, size, kind == TERMINAL)))
    return frames


def join_frames(frames: Iterable[Frame], limit: int) -> tuple[bytes, Frame | None]:
    """Join the first ``frames`` into at most ``limit`` bytes, but at least one frame.

    Returns the bytes and the last frame in them, or None if there were no frames.
    """
    parts: list[bytes] = []
    size, last = 0, None
    for frame in frames:
        size += len(frame.data)
        if parts and size > limit:
            break
        parts.append(frame.data)
        last = frame
    return b"".join(parts), last


def leading(frames: Sequence[Frame], limit: int) -> list[Frame]:
    """Return the first ``frames`` with at most ``limit`` bytes, but at least one that has bytes."""
    taken: list[Frame] = []
    size = 0
    for frame in frames:
        size += len(frame.data)
        if size > limit and size > len(frame.data):
            break
        taken.append(frame)
    return taken


class Ring:
    """Frames ``start + 1`` … ``tail`` without holes, limited in bytes and in number.

    The newest frame always stays, so that an event larger than the limit is still delivered.
    ``start_tag`` and ``tail_tag`` are the tags of the events ``start`` and ``tail``, or None if not
    known.
    """

    def __init__(self, tail: int, tag: str | None, *, max_bytes: int, max_events: int) -> None:
        self.tail = tail
        self.start_tag = self.tail_tag = tag
        self._max_bytes = max_bytes
        self._max_events = max_events
        self._frames: dict[int, Frame] = {}
        self._size = 0
        self._slices: dict[tuple[int, str, int], tuple[bytes, int, str]] = {}

    @property
    def start(self) -> int:
        """The lowest cursor that the ring can serve."""
        return self.tail - len(self._frames)

    def tag(self, seq: int) -> str | None:
        """Return the tag of the event ``seq``, or None if the ring does not know it."""
        if seq == self.tail:
            return self.tail_tag
        if seq == self.start:
            return self.start_tag
        frame = self._frames.get(seq)
        return None if frame is None else frame.tag

    def follows(self, seq: int, tag: str | None) -> bool:
        """Return whether an event ``seq`` with this ``tag`` may be the ring's event ``seq``.

        False means that one of them is of a log that was replaced. ``tag`` is None if not known.
        """
        known = self.tag(seq)
        return known is None or tag is None or known == tag

    def restart(self, tail: int, tag: str | None) -> None:
        """Remove all frames; the next one is ``tail + 1``, after the event with this ``tag``."""
        self._frames.clear()
        self._slices.clear()
        self._size = 0
        self.tail = tail
        self.start_tag = self.tail_tag = tag

    def append(self, frames: Iterable[Frame]) -> None:
        """Add the frames after ``tail``. Raises ``ValueError`` for any other frame."""
        for frame in frames:
            if frame.seq != self.tail + 1:
                raise ValueError(f"frame {frame.seq} does not follow frame {self.tail}")
            self._frames[frame.seq] = frame
            self._size += len(frame.data)
            self.tail, self.tail_tag = frame.seq, frame.tag
        self._slices.clear()
        while len(self._frames) > 1 and (
            self._size > self._max_bytes or len(self._frames) > self._max_events
        ):
            oldest = self._frames.pop(self.start + 1)
            self.start_tag = oldest.tag
            self._size -= len(oldest.data)

    def prepend(self, before: str | None, frames: Sequence[Frame]) -> bool:
        """Add the frames up to ``start``: as many of the newest as there is room for.

        ``before`` is the tag of the event before the first of them. Returns False, and adds none,
        if the frames are of another log.
        """
        if frames and not self.follows(frames[-1].seq, frames[-1].tag):
            return False
        tags = [before, *(frame.tag for frame in frames)]
        for index in range(len(frames) - 1, -1, -1):
            frame = frames[index]
            full = len(self._frames) >= self._max_events
            if full or len(frame.data) > self._max_bytes - self._size or frame.seq != self.start:
                break
            self._frames[frame.seq] = frame
            self._size += len(frame.data)
            self.start_tag = tags[index]
        return True

    def find(self, seq: int) -> Frame | None:
        """Return the frame ``seq``, or None if the ring does not have it."""
        return self._frames.get(seq)

    def frames(self, after: int) -> Iterator[Frame]:
        """Yield the frames with ``seq > after``; ``after`` must not be below ``start``."""
        for seq in range(after + 1, self.tail + 1):
            yield self._frames[seq]

    def slice(self, after: int, tag: str, limit: int) -> tuple[bytes, int, str] | None:
        """Return the joined frames after the event ``after``, and the seq and tag of the last.

        Returns None if that event has another ``tag`` here: the log was replaced. Raises
        ``ValueError`` if there is no frame.
        """
        found = self._slices.get((after, tag, limit))
        if found is None:
            if not self.follows(after, tag):
                return None
            data, last = join_frames(self.frames(after), limit)
            if last is None:
                raise ValueError(f"there is no frame after {after}")
            found = data, last.seq, last.tag
            if len(self._slices) >= _CACHED_SLICES:
                self._slices.clear()
            self._slices[after, tag, limit] = found
        return found
