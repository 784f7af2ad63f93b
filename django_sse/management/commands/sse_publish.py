"""``manage.py sse_publish CHANNEL DATA [--event TYPE] [--json] [--key KEY]``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from django_sse.management.base import EventStreamCommand
from django_sse.publishing import publish
from django_sse.wire.encoder import dumps

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(EventStreamCommand):
    help = "Publish an event to the clients of all running servers, and print the event's id."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("channel", help="The channel's name.")
        parser.add_argument(
            "data",
            help="The event's data. '-' reads it from standard input, without the last line end.",
        )
        parser.add_argument("--event", metavar="TYPE", help="The event type; default: message.")
        parser.add_argument(
            "--json", action="store_true", help="The data is JSON: check it and send it compactly."
        )

        parser.add_argument(
            "--key",
            help="A name for the event: repeating the command with it within 24 hours publishes "
            "nothing more.",
        )

    def work(self, options: dict[str, Any]) -> None:
        data = _read_stdin() if options["data"] == "-" else options["data"]
        if options["json"]:
            data = _as_json(data)
        id = publish(options["channel"], data, options["event"], key=options["key"])
        self.stdout.write(id or "The event gets its id when the transaction commits.")


def _read_stdin() -> str:
    try:
        text = sys.stdin.read()
    except UnicodeDecodeError as error:
        raise CommandError(f"Standard input is not valid text: {error}") from error
    return text.removesuffix("\n").removesuffix("\r")


def _as_json(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"The data is not valid JSON: {error}") from error
    # As JSON text: publishing a string's value as a str would lose its quotes.
    return dumps(value)
