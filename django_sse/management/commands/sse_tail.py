"""``manage.py sse_tail [CHANNEL...] [--run ID] [--since ...] [--json]``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from argparse import ArgumentTypeError
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone

from django_sse.escaping import escaped
from django_sse.exceptions import LogUnavailable
from django_sse.hub.channel_stream import ChannelStream
from django_sse.internal_channels import shown
from django_sse.management.base import EventStreamCommand
from django_sse.process.request_thread import close_connections
from django_sse.runs import store
from django_sse.wire.cursor import Cursor
from django_sse.wire.decoder import Decoder, MessageEvent
from django_sse.wire.encoder import encode
from django_sse.wire.errors import InvalidCursor
from django_sse.wire.event import Event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.core.management.base import CommandParser, OutputWrapper

    from django_sse.hub.position import Since


class Command(EventStreamCommand):
    help = (
        "Print the events of channels as they arrive, as frames or as lines of JSON, until all "
        "channels have finished or you press Ctrl-C."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("channels", nargs="*", metavar="CHANNEL", help="A channel's name.")
        parser.add_argument(
            "--run",
            action="append",
            dest="runs",
            metavar="ID",
            help="A run's id: print the events of that run. You can give this several times.",
        )
        parser.add_argument(
            "--since",
            type=parse_since,
            default="now",
            help="Where to begin: now (default), earliest, a number of newest events, a printed "
            "id (join several with dots), or a date and time in ISO format.",
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help="Print a line of JSON for each event: channel, id, event, data.",
        )

    def work(self, options: dict[str, Any]) -> None:
        names = dict.fromkeys([*options["channels"], *_channels_of(options["runs"] or ())])
        if not names:
            raise CommandError("Name a channel, or give the id of a run with --run.")
        # One stream for each channel: a frame of a shared stream does not tell its channel.
        streams: list[ChannelStream] = [_Tail(name, since=options["since"]) for name in names]
        # If the log is unavailable here, the command fails; later it waits for the log.
        live = [each for each in streams if self._settle(each)]
        close_connections()
        printer = _Printer(self.stdout, as_json=options["json"], names=len(names) > 1)
        try:
            asyncio.run(_follow(live, printer))
        except KeyboardInterrupt:
            self.stderr.write("")
        except BrokenPipeError:
            # For example "| head" has closed the pipe. Python flushes stdout again when it exits,
            # so give it somewhere to write.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _settle(self, stream: ChannelStream) -> bool:
        if live := stream.settle():
            return live
        self.stderr.write(f"The channel {stream.channels[0]!r} has finished: no more events.")
        return False


def _channels_of(runs: Iterable[str | UUID]) -> list[str]:
    """Return the channels of the runs with these ids. Raises ``CommandError``."""
    found = {each: store.find(_parse_id(each)) for each in runs}
    if missing := [str(each) for each, run in found.items() if run is None]:
        raise CommandError(f"There is no run {', '.join(missing)}.")
    return [run.channel for run in found.values() if run is not None]


def _parse_id(text: str | UUID) -> UUID:
    try:
        return UUID(str(text))
    except ValueError:
        raise CommandError(f"{text!r} is not the id of a run: use a UUID.") from None


class _Tail(ChannelStream):
    """A stream that may read internal channels: an operator has access to the log anyway."""

    internal = True


class _Printer:
    """A printer of events."""

    def __init__(self, out: OutputWrapper, *, as_json: bool, names: bool) -> None:
        self._out = out
        self._as_json = as_json
        self._names = names

    def __call__(self, channel: str, event: MessageEvent) -> None:
        text = self._line(channel, event) if self._as_json else self._frame(channel, event)
        if self._out.isatty():
            # An event's text must not control the operator's terminal.
            text = escaped(text, keep="\n\t")
        self._out.write(text, ending="")
        # The program at the other end of a pipe waits for it.
        self._out.flush()

    def _line(self, channel: str, event: MessageEvent) -> str:
        fields = {
            "channel": channel,
            "id": event.last_event_id,
            "event": event.type,
            "data": event.data,
        }
        return json.dumps(fields, ensure_ascii=False) + "\n"

    def _frame(self, channel: str, event: MessageEvent) -> str:
        type = None if event.type == "message" else event.type
        frame = encode(Event(event.data, event=type, id=event.last_event_id)).decode()
        # A comment line keeps the output a valid event stream.
        comment = f": {shown(channel)}\n" if self._names else ""
        return comment + frame


async def _follow(streams: list[ChannelStream], printer: _Printer) -> None:
    await asyncio.gather(*(_print_all(each, printer) for each in streams))


async def _print_all(stream: ChannelStream, printer: _Printer) -> None:
    [channel] = stream.channels
    # Without limits: any event of the log may be printed.
    decoder = Decoder(max_line=sys.maxsize, max_event=sys.maxsize)
    async for chunk in stream:
        for event in decoder.feed(chunk):
            if event.type == "stream-retry":
                raise LogUnavailable(
                    "The event log became unavailable. Continue later with "
                    f"--since {decoder.last_event_id or 'now'}."
                )
            # stream-open has only the position, nothing that was published.
            if event.type != "stream-open":
                printer(channel, event)


def parse_since(text: str) -> Since:
    """Return the position that ``text`` spells. Raises ``ArgumentTypeError`` if it is invalid."""
    if text in ("now", "earliest"):
        return text
    if text.isascii() and text.isdigit():
        return int(text)
    with suppress(InvalidCursor):
        return Cursor.parse(text)
    with suppress(ValueError):
        return _in_the_projects_time(datetime.fromisoformat(text))
    raise ArgumentTypeError(
        f"{text!r} is not a position. Use now, earliest, a number of events, a printed id, "
        "2026-01-31 or 2026-01-31T12:30:00+01:00"
    )


def _in_the_projects_time(moment: datetime) -> datetime:
    """Return ``moment`` in the log's form. Without an offset it is local time (``TIME_ZONE``)."""
    if settings.USE_TZ:
        return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
    return timezone.make_naive(moment) if timezone.is_aware(moment) else moment
