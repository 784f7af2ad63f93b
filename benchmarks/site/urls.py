"""The addresses that the load generator asks for."""

from __future__ import annotations

from django.urls import include, path

from benchmarks.site import views

urlpatterns = [
    path("stream", views.stream),
    path("replay", views.replay),
    path("generate", views.generate),
    path("run", views.run),
    path("runs/", include("django_sse.urls")),
]
