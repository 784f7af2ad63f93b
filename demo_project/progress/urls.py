"""The page, the jobs, and the stream of each."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "progress"

urlpatterns = [
    path("", views.progress_page, name="page"),
    path("jobs/", views.jobs, name="jobs"),
    path("<uuid:job>/", views.progress_page, name="job"),
    path("<uuid:job>/events/", views.events, name="events"),
]
