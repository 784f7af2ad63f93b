"""``manage.py sse_trim [CHANNEL...] [--age DURATION] [--count N] [--dry-run]``."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django_sse import conf
from django_sse.exceptions import ChannelLocked
from django_sse.log import get_log
from django_sse.log.base import KEY_AGE
from django_sse.log.retention import Limits
from django_sse.management.base import EventStreamCommand, existing
from django_sse.runs import leases, lost, store

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d+)?)([smhdw])", re.ASCII)
# A century, in seconds. No log is older, and "now" minus much more would be before the year 1.
_LONGEST = 36500 * 86400


class Command(EventStreamCommand):
    help = (
        "Remove old events from the log. With --age or --count only those limits apply; without "
        "both, RETENTION's AGE and COUNT do. A client that reconnects at a removed position gets a "
        "stream-reset. Without any argument the command also removes runs that ended longer than "
        "RUN_AGE ago, and ends runs whose process has died: it watches all processes for up to "
        "RUNS's LEASE to find them. It always removes keys of publishes that are older than 24 "
        "hours, and channels without events whose newest event is older than RETENTION's AGE. It "
        "prints how many it removed."
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
            "--dry-run",
            action="store_true",
            help="Remove nothing; print how many would be removed.",
        )

    def work(self, options: dict[str, Any]) -> None:
        log, dry_run = get_log(), options["dry_run"]
        # With a log in memory this process cannot see other processes' runs.
        has_runs = not options["channels"] and not log.in_memory
        if not dry_run and (old := log.remove_old_keys()):
            self.stdout.write(f"{old} old keys removed.")
        if has_runs and options["age"] is None and options["count"] is None:
            self._work_on_runs(dry_run)
        limits = _limits(options["age"], options["count"])
        if limits == Limits():
            self.stdout.write("Nothing to do: RETENTION sets neither AGE nor COUNT.")
            return
        names = [head.channel for head in existing(log, options["channels"])]
        # An answer without its beginning would be useless.
        spared = store.channels_under_way if has_runs else tuple
        swept = log.sweep(limits, names, spared=spared, dry_run=dry_run)
        for channel in swept.locked:
            self.stderr.write(self.style.WARNING(str(ChannelLocked(channel))))
        done = "would be removed" if dry_run else "removed"
        self.stdout.write(f"{swept.events} events {done}.")
        if swept.channels:
            self.stdout.write(f"{swept.channels} channels without events {done}.")

    def _work_on_runs(self, dry_run: bool) -> None:
        if not dry_run and leases.any_run():
            self._end_lost()
        age = conf.current().RETENTION.RUN_AGE
        if age is not None and (count := store.remove_old(min(age, _LONGEST), dry_run=dry_run)):
            self.stdout.write(f"{count} runs {'would be removed' if dry_run else 'removed'}.")

    def _end_lost(self) -> None:
        seconds = conf.current().RUNS.LEASE
        self.stdout.write(f"Watching for up to {seconds:g} s which processes are alive.")
        self.stdout.flush()
        if not lost.end_all_lost():
            self.stderr.write(
                self.style.WARNING(
                    "The database was away too often to find out which processes are alive. Run "
                    "the command again."
                )
            )


def _limits(age: timedelta | None, count: int | None) -> Limits:
    """Return the limits of the command line, else those of the settings."""
    retention = conf.current().RETENTION
    if age is None and count is None:
        age, count = _as_age(retention.AGE), retention.COUNT
    rows = None if retention.AGE is None else max(retention.AGE, KEY_AGE)
    return Limits(age, count, _as_age(rows))


def _as_age(seconds: float | None) -> timedelta | None:
    return None if seconds is None else _at_most_a_century(seconds)


def _at_most_a_century(seconds: float) -> timedelta:
    return timedelta(seconds=min(seconds, _LONGEST))


def parse_duration(text: str) -> timedelta:
    """Return ``30s``, ``90m``, ``12h``, ``7d`` or ``2w`` as a ``timedelta``.

    Raises ``ArgumentTypeError`` for any other text.
    """
    if match := _DURATION.fullmatch(text):
        return _at_most_a_century(float(match[1]) * _SECONDS[match[2]])
    raise ArgumentTypeError(
        f"{text!r} is not a duration: use a number and s, m, h, d or w, such as 12h"
    )


def parse_count(text: str) -> int:
    """Return a number of events. Raises ``ArgumentTypeError`` for any other text."""
    if text.isascii() and text.isdigit():
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a number of events: use 0 or more")
