"""The page and its stream."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "clock"

urlpatterns = [
    path("", views.clock_page, name="page"),
    path("events/", views.events, name="events"),
]
