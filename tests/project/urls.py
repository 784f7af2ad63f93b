"""The views that the test suite and its servers ask for."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from tests.project import views


def ok(request: HttpRequest) -> HttpResponse:
    """Tells that the server is up; `Server` waits for it."""
    return HttpResponse("ok", content_type="text/plain")


_STREAMS = (
    "async_generator",
    "sync_generator",
    "async_function",
    "sync_function",
    "sync_function_of_async",
    "waits_async",
    "waits_sync",
    "ticks_sync",
    "late_first_item",
    "never_awaits",
    "fails",
    "fails_sync",
    "no_terminal",
    "bare_done",
    "custom_terminal",
    "counted",
    "uses_orm",
    "iterates_queryset",
    "plain_response",
    "plain_response_sync",
    "threads",
    "slow_orm",
)
_CHANNELS = ("channels", "channels_sync", "channels_with_orm", "channels_noting")

urlpatterns = [
    path("ok/", ok),
    *(path(f"{name}/", getattr(views, name)) for name in _STREAMS),
    *(path(f"{name}/<names>/", getattr(views, name)) for name in _CHANNELS),
    path("direct_view/", views.DirectView.as_view()),
    path("decorated_async_view/", views.DecoratedAsyncView.as_view()),
    path("decorated_sync_view/", views.DecoratedSyncView.as_view()),
    path("members/<room>/", views.MembersOnly.as_view()),
    path("members_sync/", views.MembersOnlySync.as_view()),
    path("publish/<name>/", views.publish_view),
    path("apublish/<name>/", views.apublish_view),
    path("publish_from_threads/<name>/", views.publish_from_threads),
    path("", include("tests.project.bursts")),
    path("", include("tests.project.handoff")),
    path("", include("tests.project.pages")),
    path("", include("tests.project.relayed")),
    path("", include("tests.project.slow")),
    path("", include("tests.project.runs")),
    path("runs/", include("django_sse.urls")),
    path("", include("tests.project.streams")),
]
