"""From cron, or a timer: `manage.py finish_lost_reports`."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand

from tests.integration.workers.reports.jobs import finish_lost


class Command(BaseCommand):
    help = "Ends the reports whose worker is gone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--silent", type=float, default=60.0, help="seconds")

    def handle(self, *args: Any, silent: float, **options: Any) -> None:
        self.stdout.write(f"{finish_lost(timedelta(seconds=silent))} ended")
