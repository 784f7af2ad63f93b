"""The rooms and what was said in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from .models import Message, Room

if TYPE_CHECKING:
    RoomModelAdmin = admin.ModelAdmin[Room]
    MessageModelAdmin = admin.ModelAdmin[Message]
else:
    RoomModelAdmin = MessageModelAdmin = admin.ModelAdmin


@admin.register(Room)
class RoomAdmin(RoomModelAdmin):
    """Rooms can be added: a slug is all it takes."""

    list_display = ("title", "slug")


@admin.register(Message)
class MessageAdmin(MessageModelAdmin):
    """Messages, newest first."""

    list_display = ("created", "room", "username", "text")
    list_filter = ("room",)
    search_fields = ("username", "text")
    ordering = ("-pk",)
