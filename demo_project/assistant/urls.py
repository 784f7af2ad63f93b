"""The page, the answers, and what the page's buttons do."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "assistant"

urlpatterns = [
    path("", views.assistant_page, name="page"),
    path("events/", views.events, name="events"),
    path("answers/", views.answers, name="answers"),
    path("forget/", views.forget, name="forget"),
    path("<int:pk>/kill/", views.kill, name="kill"),
]
