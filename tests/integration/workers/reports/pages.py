"""The pages of a report: each is written when the test lets it be (`workers/gates.py`).

What the test says at the gate is the page; some words do something instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from django_sse import Event
from tests.integration.workers.gates import steps

from .models import Report


class Busy(Exception):
    """The printer is busy; it is worth another attempt."""


def pages(report: Report) -> Iterator[Event]:
    for number, step in enumerate(steps(report.pk)):
        if step == "end":
            return
        if step == "busy":
            raise Busy
        if step == "fail":
            raise RuntimeError("secret detail")
        yield Event({"number": number, "text": step, "pid": os.getpid()}, event="page")
