"""A page with the JavaScript client, driven in a browser; `recorder.js` notes what it does."""

from __future__ import annotations

from pathlib import Path

from django.contrib.staticfiles.views import serve
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template import RequestContext, Template
from django.urls import path
from django.views.decorators.csrf import ensure_csrf_cookie

from django_sse import Subscription, event_stream, subscribe

PAGE = """{% load django_sse %}<!doctype html><title>client</title><link rel="icon" href="data:,">
{% event_stream_client shared=True %}
<script type="module" src="recorder.js"></script>
"""


@ensure_csrf_cookie
def client_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(Template(PAGE).render(RequestContext(request)))


def recorder(request: HttpRequest) -> FileResponse:
    script = Path(__file__).with_name("recorder.js")
    return FileResponse(script.open("rb"), content_type="text/javascript")


@event_stream
async def guests(request: HttpRequest) -> Subscription:
    if "guest" not in request.COOKIES:
        raise PermissionDenied
    return subscribe("guests")


@event_stream
async def letters(request: HttpRequest) -> Subscription:
    """A channel of the account, at one URL for all."""
    return subscribe(f"letters-{request.COOKIES['guest']}")


def static_file(request: HttpRequest, path: str) -> HttpResponseBase:
    """Servers other than runserver serve no static files of their own."""
    response = serve(request, path, insecure=True)
    response["X-Served-By"] = "project"
    return response


urlpatterns = [
    path("client/", client_page),
    path("client/recorder.js", recorder),
    path("client/guests/", guests),
    path("client/letters/", letters),
    path("static/<path:path>", static_file),
]
