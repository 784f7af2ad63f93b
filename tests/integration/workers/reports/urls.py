"""The addresses of the reports."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("reports/", views.create_report, name="create-report"),
    path("reports/<uuid:pk>/events/", views.report_events, name="report-events"),
    path("reports/<uuid:pk>/stop/", views.stop_report, name="stop-report"),
]
