"""Rooms, what was said in them, and who is connected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypedDict

from django.db import models, transaction
from django.http import Http404
from django.utils import timezone

from django_sse import publish

from .processes import is_running, this_process

MAX_TEXT = 1000
MAX_USERNAME = 24


class Line(TypedDict, total=False):
    """What an event of a room carries; ``id`` only with ``usermessage``."""

    id: int
    username: str
    time: datetime
    text: str


class Room(models.Model):
    """A place to talk; the rooms are made by a migration."""

    slug = models.SlugField(max_length=40, unique=True)
    title = models.CharField(max_length=80)

    def __str__(self) -> str:
        return self.title

    @property
    def channel(self) -> str:
        """The channel that carries what happens here."""
        return f"chat-{self.slug}"

    def history(self, limit: int = 50) -> list[Message]:
        """The newest messages, oldest first."""
        return list(self.messages.order_by("-pk")[:limit])[::-1]

    def usernames(self) -> list[str]:
        """Who is here, as far as connects and disconnects tell."""
        here = self.participants.filter(connections__gt=0)
        return list(here.order_by("username").values_list("username", flat=True).distinct())

    def doors(self, username: str) -> tuple[Callable[[], None], Callable[[], None]]:
        """What to call when a stream of ``username`` opens and when it ends."""
        return partial(self.join, username), partial(self.leave, username)

    def join(self, username: str) -> None:
        """Count a connection of ``username``; the first one is announced."""
        with transaction.atomic():
            self._lock()
            self._forget_dead_processes()
            if self._count(username, 1) == 1:
                self._announce("userconnect", username, "joined")

    def leave(self, username: str) -> None:
        """Discount a connection of ``username``; the last one is announced."""
        with transaction.atomic():
            self._lock()
            if self._count(username, -1) == 0:
                self._announce("userdisconnect", username, "left")

    def _lock(self) -> None:
        """Who comes and goes is counted one after the other, in all processes."""
        Room.objects.select_for_update().get(pk=self.pk)

    def _count(self, username: str, change: int) -> int:
        """Change the connections of ``username``; how many there are now.

        A stream that is cut while it opens may leave before it has joined: the sum is right in
        either order, if what is below zero is kept too.
        """
        own, _ = self.participants.get_or_create(username=username, process=this_process())
        own.connections += change
        if own.connections:
            own.save()
        else:
            own.delete()
        return self._total(username)

    def _total(self, username: str) -> int:
        rows = self.participants.filter(username=username)
        return sum(rows.values_list("connections", flat=True))

    def _forget_dead_processes(self) -> None:
        """A killed server counts nobody down; the next one to come finds what it left."""
        dead = [row for row in self.participants.all() if not is_running(row.process)]
        for row in dead:
            row.delete()
        for username in sorted({row.username for row in dead}):
            if self._total(username) == 0:
                self._announce("userdisconnect", username, "left")

    def _announce(self, event: str, username: str, text: str) -> None:
        data: Line = {"username": username, "time": timezone.now(), "text": text}
        publish(self.channel, data, event=event)


def room_named(slug: str) -> Room:
    """The room at ``slug``. Raises ``Http404``, with the rooms that there are."""
    room = Room.objects.filter(slug=slug).first()
    if room is None:
        known = ", ".join(Room.objects.order_by("pk").values_list("slug", flat=True))
        raise Http404(f"There is no room called {slug!r}. The rooms are: {known}.")
    return room


class Message(models.Model):
    """One thing somebody said."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="messages")
    username = models.CharField(max_length=MAX_USERNAME)
    text = models.CharField(max_length=MAX_TEXT)
    created = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.username}: {self.text[:40]}"

    def as_data(self) -> Line:
        """The data of its ``usermessage`` event."""
        return {
            "id": self.pk,
            "username": self.username,
            "time": self.created,
            "text": self.text,
        }


class Participant(models.Model):
    """The open streams that a server process has for a name in a room."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="participants")
    username = models.CharField(max_length=MAX_USERNAME)
    process = models.CharField(max_length=40)
    connections = models.IntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["room", "username", "process"], name="participant_once_a_process"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.username} ({self.connections})"
