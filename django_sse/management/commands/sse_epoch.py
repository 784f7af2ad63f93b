"""``manage.py sse_epoch [--rotate] [CHANNEL... | --all]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from django_sse.hub.registry import look_again
from django_sse.log import get_log
from django_sse.management.base import EventStreamCommand, batches, existing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.core.management.base import CommandParser

    from django_sse.log.base import Head


class Command(EventStreamCommand):
    help = (
        "Show the epochs of channels, or give the channels new ones. After restoring the database "
        "from an older copy, rotate all epochs before you let clients connect: the next events "
        "will reuse sequence numbers that clients have already seen. Each client then gets a "
        "stream-reset."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("channels", nargs="*", metavar="CHANNEL", help="A channel's name.")
        parser.add_argument("--all", action="store_true", help="All channels.")
        parser.add_argument("--rotate", action="store_true", help="Make new epochs.")

    def work(self, options: dict[str, Any]) -> None:
        channels: list[str] = options["channels"]
        if channels and options["all"]:
            raise CommandError("Name channels or pass --all, not both.")
        if options["rotate"] and not channels and not options["all"]:
            raise CommandError("Name the channels to rotate, or pass --all.")
        heads: Iterable[Head] = existing(get_log(), channels) if channels else _all_heads()
        if options["rotate"]:
            self._rotate(heads)
        else:
            self._show(heads)

    def _show(self, heads: Iterable[Head]) -> None:
        for head in heads:
            state = head.state or "open"
            self.stdout.write(f"{head.epoch}  head {head.head}  {state}  {head.channel}")

    def _rotate(self, heads: Iterable[Head]) -> None:
        log = get_log()
        rotated = 0
        for batch in batches(heads):
            # Compare-and-set: False if a running process noticed the rewind and rotated already.
            rotated += sum(log.rotate(head.channel, head.epoch) for head in batch)
            look_again([head.channel for head in batch])
        self.stdout.write(f"{rotated} rotated.")


def _all_heads() -> Iterator[Head]:
    log = get_log()
    for names in batches(log.channels()):
        heads = log.heads(names)
        yield from (heads[name] for name in names if name in heads)
