"""Names in the session, one for each seat."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest
from django.test import RequestFactory

from demo_project.chat.names import MAX_SEATS, new_seat, rename, seat_of, username_of
from demo_project.errors import BadInput


def request_with(session: dict[str, Any], path: str = "/") -> HttpRequest:
    request = RequestFactory().get(path)
    request.session = session  # type: ignore[assignment]
    return request


def test_a_name_is_made_up_once_and_kept() -> None:
    session: dict[str, Any] = {}
    first = username_of(request_with(session))
    assert first
    assert username_of(request_with(session)) == first


def test_each_seat_of_a_session_has_a_name_of_its_own() -> None:
    session: dict[str, Any] = {}
    names = {username_of(request_with(session, f"/?seat={seat}")) for seat in ("", "a", "b", "c")}
    assert len(names) == 4


def test_a_rename_counts_for_its_seat_only() -> None:
    session: dict[str, Any] = {}
    before = username_of(request_with(session))
    assert rename(request_with(session, "/?seat=b"), {"username": "  Ada   Lovelace "}) == (
        "Ada Lovelace"
    )
    assert username_of(request_with(session, "/?seat=b")) == "Ada Lovelace"
    assert username_of(request_with(session)) == before


@pytest.mark.parametrize("name", ["", "   ", "x" * 25, "a\x07b", "a\u202eb", 7, None])
def test_what_is_no_name_is_refused(name: object) -> None:
    with pytest.raises(BadInput, match="username"):
        rename(request_with({}), {"username": name})


@pytest.mark.parametrize("seat", ["A", "a b", "123456789", "é", "a\n", "../x"])
def test_a_seat_is_short_and_plain(seat: str) -> None:
    request = RequestFactory().get("/", {"seat": seat})
    with pytest.raises(BadInput, match="seat"):
        seat_of(request)


def test_new_seats_are_seats() -> None:
    seat = new_seat()
    assert seat_of(RequestFactory().get("/", {"seat": seat})) == seat


def test_a_session_has_a_bounded_number_of_seats() -> None:
    session: dict[str, Any] = {}
    for number in range(MAX_SEATS):
        username_of(request_with(session, f"/?seat={number}"))
    with pytest.raises(BadInput, match="at most"):
        username_of(request_with(session, "/?seat=onemore"))
