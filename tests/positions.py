"""Positions for tests: the id of an event, and ids without the tag, which is random."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_sse.wire.cursor import NO_TAG, Position

if TYPE_CHECKING:
    from django_sse.log import EventLog


def id_of(channel: str, seq: int, log: EventLog | None = None) -> str:
    """The id of an event as a stream of this channel alone sends it; the event need not exist."""
    # Here, because readers in processes of their own, without Django, need the rest of this file.
    from django_sse.log import get_log

    log = log or get_log()
    (head,) = log.open([channel])
    tag = head.tag(seq) or log.tag(head.key, seq)
    return str(Position(head.epoch, seq, tag or (NO_TAG if not seq else "000000")))


def untagged(id: str) -> str:
    """``epoch-seq`` of each channel of an id."""
    return ".".join(part.rpartition("-")[0] for part in id.split("."))


def seq_of(id: str) -> int:
    """The seq of the id of one channel."""
    return int(id.split("-")[1])
