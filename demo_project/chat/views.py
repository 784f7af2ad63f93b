"""The chat: a page with its history, a stream that joins it without a gap, and two POSTs."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST, require_safe

from django_sse import Subscription, cursor, event_stream, publish, subscribe

from ..errors import submitted, text_field
from .models import MAX_TEXT, MAX_USERNAME, Room, room_named
from .names import new_seat, rename, seat_of, username_of


@require_safe
@ensure_csrf_cookie
def room_page(request: HttpRequest, slug: str) -> HttpResponse:
    """The room as it is now, with the cursor from which the stream goes on."""
    room = room_named(slug)
    # The cursor first: what is said between the two lines below then comes twice, once in the
    # history and once on the stream, and the page knows it by its id. The other way round it
    # would be in neither.
    position = cursor(room.channel)
    context = {
        "room": room,
        "rooms": Room.objects.order_by("pk"),
        "cursor": position,
        "history": room.history(),
        "usernames": room.usernames(),
        "username": username_of(request),
        "seat": seat_of(request),
        "another_seat": new_seat(),
        "max_text": MAX_TEXT,
        "max_username": MAX_USERNAME,
    }
    return render(request, "chat/room.html", context)


@event_stream
def events(request: HttpRequest, slug: str) -> Subscription:
    room = room_named(slug)
    join, leave = room.doors(username_of(request))
    return subscribe(room.channel, on_open=join, on_close=leave)


@require_POST
def messages(request: HttpRequest, slug: str) -> HttpResponse:
    room = room_named(slug)
    text = text_field(submitted(request), "text", MAX_TEXT)
    with transaction.atomic():
        message = room.messages.create(username=username_of(request), text=text)
        publish(room.channel, message.as_data(), event="usermessage")
    return JsonResponse(message.as_data(), status=201)


@require_POST
def username(request: HttpRequest, slug: str) -> HttpResponse:
    """Go by another name; the page then reconnects under it."""
    room_named(slug)
    return JsonResponse({"username": rename(request, submitted(request))})
