"""``manage.py sse_epoch [CHANNEL...]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_sse.escaping import escaped
from django_sse.internal_channels import shown
from django_sse.log import get_log
from django_sse.log.orm import batches
from django_sse.management.base import EventStreamCommand, existing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.core.management.base import CommandParser

    from django_sse.log.base import Head


class Command(EventStreamCommand):
    help = "Show the epoch, head and state of each channel, or of the channels named."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("channels", nargs="*", metavar="CHANNEL", help="A channel's name.")

    def work(self, options: dict[str, Any]) -> None:
        channels: list[str] = options["channels"]
        heads: Iterable[Head] = existing(get_log(), channels) if channels else _all_heads()
        for head in heads:
            state = head.state or "open"
            name = escaped(shown(head.channel))
            self.stdout.write(f"{head.epoch}  head {head.head}  {state}  {name}")


def _all_heads() -> Iterator[Head]:
    log = get_log()
    for names in batches(log.channels()):
        heads = log.heads(names)
        yield from (heads[name] for name in names if name in heads)
