"""A long job whose bar survives a reload: the log replays it, then goes on live."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST, require_safe

from django_sse import Subscription, event_stream, subscribe

from .jobs import channel_of, start_job

SESSION_KEY = "progress_jobs"
MAX_JOBS = 20


@require_safe
@ensure_csrf_cookie
def progress_page(request: HttpRequest, job: UUID | None = None) -> HttpResponse:
    """The page; with a job in its address it shows how far that one is."""
    if job is not None:
        own_job(request, job)
    return render(request, "progress/progress.html", {"job": job})


@require_POST
def jobs(request: HttpRequest) -> HttpResponse:
    job = start_job()
    remember(request, job)
    page = reverse("progress:job", args=[job])
    return JsonResponse({"id": str(job), "page": page}, status=201)


@event_stream
def events(request: HttpRequest, job: UUID) -> Subscription:
    own_job(request, job)
    return subscribe(channel_of(job), since="earliest")


def remember(request: HttpRequest, job: UUID) -> None:
    """Note in the session that ``job`` is its own."""
    request.session[SESSION_KEY] = [*request.session.get(SESSION_KEY, []), str(job)][-MAX_JOBS:]


def own_job(request: HttpRequest, job: UUID) -> None:
    """Raise ``Http404`` for a job that this session has not started."""
    if str(job) not in request.session.get(SESSION_KEY, []):
        raise Http404("There is no such job in this session. Start one on the progress page.")
