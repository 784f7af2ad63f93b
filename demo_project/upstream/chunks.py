"""Chat completion chunks as OpenAI streams them, and their bytes cut where it hurts."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from itertools import cycle

from django_sse import Event
from django_sse.wire import encode

# Sizes in bytes of what is sent at once. None divides a chunk of about 190 bytes, so the cuts
# wander through the frames: through JSON, through ``data:``, between the two line ends.
CUTS = (83, 131, 61, 197, 7, 149)


def completion(model: str, pieces: Iterable[str]) -> Iterator[Event]:
    """The events of an answer made of ``pieces``: the role, the pieces, the reason, [DONE]."""
    head = {
        "id": f"chatcmpl-{uuid.uuid4().hex[:12]}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
    }

    def chunk(delta: dict[str, str], finish_reason: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return Event({**head, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces:
        yield chunk({"content": piece})
    yield chunk({}, "stop")
    yield Event("[DONE]")


def cut(events: Iterable[Event]) -> Iterator[bytes]:
    """The frames of ``events`` as one run of bytes, cut without regard to where a frame ends."""
    pending = b""
    sizes = cycle(CUTS)
    size = next(sizes)
    for event in events:
        pending += encode(event)
        while len(pending) >= size:
            yield pending[:size]
            pending = pending[size:]
            size = next(sizes)
    if pending:
        yield pending
