"""The page and the answers."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "assistant"

urlpatterns = [
    path("", views.assistant_page, name="page"),
    path("answers/", views.answers, name="answers"),
]
