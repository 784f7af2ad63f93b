"""The pages of the demo, one app each."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from .home.views import home
from .upstream.views import chat_completions

urlpatterns = [
    path("", home, name="home"),
    path("chat/", RedirectView.as_view(url="lobby/"), name="chat"),
    path("chat/<slug:slug>/", include("demo_project.chat.urls")),
    path("assistant/", include("demo_project.assistant.urls")),
    path("clock/", include("demo_project.clock.urls")),
    path("interval/", include("demo_project.interval.urls")),
    path("progress/", include("demo_project.progress.urls")),
    path("upstream/v1/chat/completions", chat_completions, name="upstream"),
    path("compatible/", include("demo_project.compatible.urls")),
    path("runs/", include("django_sse.urls")),
    path("admin/", admin.site.urls),
]
