"""A report by hand: `manage.py write_report <id>`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from tests.workers.reports.jobs import STOPPED, run
from tests.workers.reports.models import Report
from tests.workers.reports.pages import pages


class Command(BaseCommand):
    help = "Writes a report while its owner watches."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("pk")

    def handle(self, *args: Any, pk: str, **options: Any) -> None:
        report = Report.objects.get(pk=pk)
        try:
            run(report, pages(report))
        except KeyboardInterrupt:
            report.end("aborted", STOPPED)
