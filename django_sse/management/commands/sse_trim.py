"""``manage.py sse_trim [CHANNEL...] [--age DURATION] [--count N] [--dry-run]``."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from django_sse import conf
from django_sse.log import EventLog, get_log
from django_sse.management.base import EventStreamCommand, existing
from django_sse.runs import store
from django_sse.runs.keeper import end_lost

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.core.management.base import CommandParser

    from django_sse.log.base import Head

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d+)?)([smhdw])", re.ASCII)
# A century, in seconds: no log is older, and "now" less a much longer time is before the year 1.
_LONGEST = 36500 * 86400
# Channels for which it is asked at once which runs are under way.
_PAGE = 500


class Command(EventStreamCommand):
    help = (
        "Remove old events from the log. Without --age and --count: what RETENTION's AGE and COUNT "
        "say; with one of them, by that alone. Clients that come back from before what is kept "
        "are told by stream-reset. Without any argument runs that ended longer than RUN_AGE ago "
        "are removed, too, and those are ended that have lost their process. Prints what went."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "channels", nargs="*", metavar="CHANNEL", help="A channel's name; default: all."
        )
        parser.add_argument(
            "--age",
            type=parse_duration,
            metavar="DURATION",
            help="Remove events older than this: a number and s, m, h, d or w, such as 12h.",
        )
        parser.add_argument(
            "--count",
            type=parse_count,
            metavar="N",
            help="Remove all but the newest N events of each channel.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Remove nothing; say how many would go."
        )

    def work(self, options: dict[str, Any]) -> None:
        age, count = options["age"], options["count"]
        if age is None and count is None:
            # What runs in another process said is in its memory.
            if not options["channels"] and not get_log().in_memory:
                self._work_on_runs(options["dry_run"])
            age, count = _configured()
        if age is None and count is None:
            self.stdout.write("Nothing to do: RETENTION's AGE and COUNT keep everything.")
            return
        log = get_log()
        trim = _would_trim if options["dry_run"] else _trim
        names = [head.channel for head in existing(log, options["channels"])] or _all(log)
        removed = sum(trim(log, name, age, count) for name in names)
        self.stdout.write(f"{removed} {'would go' if options['dry_run'] else 'removed'}.")

    def _work_on_runs(self, dry_run: bool) -> None:
        if not dry_run:
            end_lost(store.expired())
        age = conf.current().RETENTION.RUN_AGE
        if age is not None and (count := store.remove_old(min(age, _LONGEST), dry_run=dry_run)):
            self.stdout.write(f"{count} runs {'would go' if dry_run else 'removed'}.")


def _all(log: EventLog) -> Iterable[str]:
    """All channels but those of runs under way: of an answer without its beginning nobody could
    make anything."""
    names = iter(log.channels())
    while page := list(islice(names, _PAGE)):
        # After the page was read: a run is stored before its channel, so none is overlooked that
        # began meanwhile.
        running = set() if log.in_memory else store.channels_under_way()
        yield from (name for name in page if name not in running)


def _configured() -> tuple[timedelta | None, int | None]:
    retention = conf.current().RETENTION
    age = retention.AGE
    return None if age is None else _at_most_a_century(age), retention.COUNT


def _at_most_a_century(seconds: float) -> timedelta:
    return timedelta(seconds=min(seconds, _LONGEST))


def _trim(log: EventLog, channel: str, age: timedelta | None, count: int | None) -> int:
    return log.trim(channel, age=age, count=count)


def _would_trim(log: EventLog, channel: str, age: timedelta | None, count: int | None) -> int:
    head: Head | None = log.heads([channel]).get(channel)
    if head is None:
        return 0
    return log.trim_floor(head, age=age, count=count) - head.floor


def parse_duration(text: str) -> timedelta:
    """``30s``, ``90m``, ``12h``, ``7d`` or ``2w`` as a ``timedelta``. Raises
    ``ArgumentTypeError``."""
    if match := _DURATION.fullmatch(text):
        return _at_most_a_century(float(match[1]) * _SECONDS[match[2]])
    raise ArgumentTypeError(
        f"{text!r} is no duration: write a number and s, m, h, d or w, such as 12h"
    )


def parse_count(text: str) -> int:
    """A number of events. Raises ``ArgumentTypeError``."""
    if text.isascii() and text.isdigit():
        return int(text)
    raise ArgumentTypeError(f"{text!r} is no number of events: write 0 or more")
