"""The addresses of one room."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "chat"

urlpatterns = [
    path("", views.room_page, name="room"),
    path("events/", views.events, name="events"),
    path("messages/", views.messages, name="messages"),
    path("username/", views.username, name="username"),
]
