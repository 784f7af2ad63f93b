"""The views of the reports, and those that only tests need."""

from __future__ import annotations

from uuid import uuid4

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.urls import include, path, reverse

from django_sse import Subscription, event_stream, subscribe
from tests.integration.workers.reports import background, tasks
from tests.integration.workers.reports.models import Report


def ok(request: HttpRequest) -> HttpResponse:
    """Tells that the server is up; `Server` waits for it."""
    return HttpResponse("ok", content_type="text/plain")


def enter(request: HttpRequest) -> HttpResponse:
    """Who asks is a user of its own from now on."""
    login(request, User.objects.create_user(username=uuid4().hex))
    return JsonResponse({"token": get_token(request)})


def create(request: HttpRequest, how: str) -> HttpResponse:
    """As `views.create_report`, for what does the work otherwise."""
    report = Report.objects.create(owner=request.user)
    if how == "tasks":
        transaction.on_commit(lambda: background.write.enqueue(str(report.pk)))
    return JsonResponse({"id": report.pk, "events": reverse("report-events", args=[report.pk])})


def count(request: HttpRequest, how: str, channel: str) -> HttpResponse:
    begin = tasks.count.delay if how == "celery" else background.count.enqueue
    begin(channel, 4)
    return HttpResponse("begun")


@event_stream
def channel(request: HttpRequest, name: str) -> Subscription:
    return subscribe(name, since="earliest")


urlpatterns = [
    path("ok/", ok),
    path("enter/", enter),
    path("count/<how>/<channel>/", count),
    path("channels/<name>/", channel),
    path("reports/<str:how>/", create),
    path("", include("tests.integration.workers.reports.urls")),
]
