"""What the log of a channel holds, as JSON of id and data: `... many.logged CHANNEL`."""

from __future__ import annotations

import json
import sys

import django

PAGE = 1000


def main(channel: str) -> None:
    django.setup()
    from django_sse.log import get_log
    from django_sse.wire.cursor import Position, tag_of

    log = get_log()
    (head,) = log.open([channel])
    events: list[tuple[str, str]] = []
    while len(events) < head.head:
        for record in log.read(head.key, len(events), PAGE).records:
            position = Position(head.epoch, record.seq, tag_of(record.nonce))
            events.append((str(position), record.data))
    print(json.dumps(events))


if __name__ == "__main__":
    main(*sys.argv[1:])
