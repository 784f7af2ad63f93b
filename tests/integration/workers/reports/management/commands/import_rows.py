"""Rows of a file, a batch at a time: `manage.py import_rows <channel> <path>`."""

from __future__ import annotations

import csv
from argparse import ArgumentParser
from itertools import islice
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from django_sse import Event, finish, publish_many


class Command(BaseCommand):
    help = "Publishes the rows of a CSV file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("channel")
        parser.add_argument("path", type=Path)

    def handle(self, *args: Any, channel: str, path: Path, **options: Any) -> None:
        with path.open(newline="") as file:
            rows = csv.reader(file)
            while batch := list(islice(rows, 100)):
                publish_many((channel, Event(row, event="row")) for row in batch)
        finish(channel)
