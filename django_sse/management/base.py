"""The base class of the management commands."""

from __future__ import annotations

from abc import abstractmethod
from argparse import ArgumentTypeError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from django_sse.checks import TAG
from django_sse.exceptions import EventStreamError
from django_sse.log import EventLog, get_log
from django_sse.log.base import Head
from django_sse.log.entries import validate_channel
from django_sse.log.memory import MemoryLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class EventStreamCommand(BaseCommand):
    """A command that uses the log; errors of the log become messages instead of tracebacks."""

    # Only this library's checks: an operator's command must not wait to load the project's URLs.
    requires_system_checks = [TAG]

    def handle(self, *args: Any, **options: Any) -> None:
        if isinstance(get_log(), MemoryLog):
            self.stderr.write(
                self.style.WARNING(
                    "The log is in memory: this command sees only the log of its own process, not "
                    "the servers'."
                )
            )
        with _as_command_errors():
            self.work(self._parsed(options))

    def _parsed(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return ``options`` with the texts of ``call_command`` parsed as on the command line.

        Django parses only those keyword arguments of ``call_command`` that are required.
        """
        parser = self.create_parser("manage.py", type(self).__module__.rpartition(".")[2])
        parsed = dict(options)
        for action in parser._actions:
            text = options.get(action.dest)
            if isinstance(text, str) and callable(action.type):
                try:
                    parsed[action.dest] = action.type(text)
                except (ArgumentTypeError, ValueError) as error:
                    raise CommandError(f"{action.dest}: {error}") from error
        return parsed

    @abstractmethod
    def work(self, options: dict[str, Any]) -> None:
        """Do the command's work."""


@contextmanager
def _as_command_errors() -> Iterator[None]:
    try:
        yield
    except EventStreamError as error:
        raise CommandError(str(error)) from error
    except DatabaseError as error:
        raise CommandError(
            f"The event log's database failed: {error} Did you run manage.py migrate?"
        ) from error


def existing(log: EventLog, channels: Sequence[str]) -> list[Head]:
    """Return the heads of ``channels`` in their order.

    Raises ``CommandError`` if a channel does not exist.
    """
    heads = log.heads(validate_channel(channel, internal=True) for channel in channels)
    if missing := [repr(channel) for channel in channels if channel not in heads]:
        raise CommandError(f"There is no channel {', '.join(missing)}.")
    return [heads[channel] for channel in channels]
