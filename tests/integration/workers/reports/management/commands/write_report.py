"""A report by hand: `manage.py write_report <id>`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connections

from tests.integration.workers.reports.jobs import STOPPED, run
from tests.integration.workers.reports.models import Report
from tests.integration.workers.reports.pages import pages


class Command(BaseCommand):
    help = "Writes a report while its owner watches."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("pk")

    def handle(self, *args: Any, pk: str, **options: Any) -> None:
        report = Report.objects.get(pk=pk)
        try:
            run(report, pages(report))
        except KeyboardInterrupt:
            # It may have cut a statement, and then the connection is of no more use.
            connections.close_all()
            report.end("aborted", STOPPED)
