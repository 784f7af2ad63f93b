"""What the commands have in common."""

from __future__ import annotations

from abc import abstractmethod
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
    """A command that talks to the log: what goes wrong there is a message, not a traceback."""

    # Only what is theirs: a command of an operator's must not wait for the project's URLs.
    requires_system_checks = [TAG]

    def handle(self, *args: Any, **options: Any) -> None:
        if isinstance(get_log(), MemoryLog):
            self.stderr.write(
                self.style.WARNING(
                    "The log is in memory: this command sees only the memory of its own process."
                )
            )
        with _as_command_errors():
            self.work(options)

    @abstractmethod
    def work(self, options: dict[str, Any]) -> None:
        """What the command does."""


@contextmanager
def _as_command_errors() -> Iterator[None]:
    try:
        yield
    except EventStreamError as error:
        raise CommandError(str(error)) from error
    except DatabaseError as error:
        raise CommandError(f"The event log's database: {error} (manage.py migrate?)") from error


def existing(log: EventLog, channels: Sequence[str]) -> list[Head]:
    """The heads of ``channels``, in their order. Raises ``CommandError`` for one that is not
    there."""
    heads = log.heads(validate_channel(channel, internal=True) for channel in channels)
    if missing := [repr(channel) for channel in channels if channel not in heads]:
        raise CommandError(f"There is no channel {', '.join(missing)}.")
    return [heads[channel] for channel in channels]
