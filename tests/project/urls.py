"""The views that the test suite and its servers ask for."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path


def ok(request: HttpRequest) -> HttpResponse:
    """Tells that the server is up; `Server` waits for it."""
    return HttpResponse("ok", content_type="text/plain")


urlpatterns = [path("ok/", ok)]
