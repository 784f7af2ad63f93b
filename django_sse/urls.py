"""The views of runs: ``path("runs/", include("django_sse.urls"))``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connections, transaction
from django.urls import path

from django_sse.views import RunEventsView, RunStatusView, RunStopView

__all__ = ["app_name", "urlpatterns"]

app_name = "django_sse"


def _outside_transactions(view: Callable[..., Any]) -> Callable[..., Any]:
    """Exempt an async view from ATOMIC_REQUESTS, which refuses all async views."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


_events = _outside_transactions(RunEventsView.as_view())
_status = _outside_transactions(RunStatusView.as_view())
_stop = _outside_transactions(RunStopView.as_view())

urlpatterns = [
    path("<uuid:run_id>/", _status, name="run-status"),
    path("<uuid:run_id>/events/", _events, name="run-events"),
    path("<uuid:run_id>/stop/", _stop, name="run-stop"),
]
