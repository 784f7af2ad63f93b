"""Starting a report, streaming it, stopping it."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_POST

from django_sse import Subscription, event_stream, subscribe

from .jobs import STOPPED
from .models import Report
from .tasks import write


@login_required
@require_POST
def create_report(request: HttpRequest) -> HttpResponse:
    report = Report.objects.create(owner=request.user)
    # A worker can be faster than the commit (ATOMIC_REQUESTS), and would find no report.
    transaction.on_commit(lambda: write.delay(str(report.pk)))
    events = reverse("report-events", args=[report.pk])
    return JsonResponse({"id": report.pk, "events": events}, status=202)


@event_stream
def report_events(request: HttpRequest, pk: UUID) -> Subscription:
    report = get_object_or_404(Report, pk=pk, owner=request.user.pk)
    return subscribe(report.channel, since="earliest")


@require_POST
def stop_report(request: HttpRequest, pk: UUID) -> HttpResponse:
    report = get_object_or_404(Report, pk=pk, owner=request.user.pk)
    return JsonResponse({"stopped": report.end("aborted", STOPPED)})
