"""The name somebody goes by, held in the session.

Two windows of one browser share the session. So that one person can talk to herself in two
windows, a page's address may carry ``?seat=``: each seat of a session has a name of its own.
"""

from __future__ import annotations

import re
import secrets

from django.http import HttpRequest

from ..errors import BadInput, text_field
from .models import MAX_USERNAME

MAX_SEATS = 20
SESSION_KEY = "chat_usernames"

_SEAT = re.compile(r"[a-z0-9]{0,8}", re.ASCII)
_MOODS = ("Calm", "Swift", "Bright", "Quiet", "Merry", "Brave", "Clever", "Gentle")
_ANIMALS = ("Heron", "Otter", "Fox", "Wren", "Lynx", "Badger", "Swan", "Hare", "Finch", "Seal")


def seat_of(request: HttpRequest) -> str:
    """The window's seat from the query; ``BadInput`` unless it is short and plain."""
    seat = request.GET.get("seat", "")
    if not _SEAT.fullmatch(seat):
        raise BadInput("A seat has at most 8 characters of a to z and 0 to 9.")
    return seat


def new_seat() -> str:
    """A seat for one more window."""
    return secrets.token_hex(2)


def username_of(request: HttpRequest) -> str:
    """The name of the request's seat; a friendly one is made up the first time."""
    names = _names(request)
    seat = seat_of(request)
    if seat not in names:
        _store(request, seat, _guest_name(set(names.values())))
    return _names(request)[seat]


def rename(request: HttpRequest, fields: dict[str, object]) -> str:
    """Take ``fields["username"]`` for the request's seat; ``BadInput`` if it is no name."""
    username = " ".join(text_field(fields, "username", MAX_USERNAME).split())
    if not username.isprintable():
        raise BadInput('"username" holds characters that cannot be seen.')
    _store(request, seat_of(request), username)
    return username


def _names(request: HttpRequest) -> dict[str, str]:
    names: dict[str, str] = request.session.get(SESSION_KEY, {})
    return names


def _store(request: HttpRequest, seat: str, username: str) -> None:
    names = _names(request) | {seat: username}
    if len(names) > MAX_SEATS:
        raise BadInput(f"One browser has at most {MAX_SEATS} seats; close some windows.")
    request.session[SESSION_KEY] = names


def _guest_name(taken: set[str]) -> str:
    free = {f"{mood} {animal}" for mood in _MOODS for animal in _ANIMALS} - taken
    return secrets.choice(sorted(free))
