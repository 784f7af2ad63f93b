from __future__ import annotations

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from django_sse.runs.owners import owner_of
from django_sse.trust.principals import note_named_owner, principal_of


def with_session(**data: object) -> HttpRequest:
    """A request whose session is not read yet."""
    session = SessionStore()
    session.update(data)
    session.save()
    request = RequestFactory().get("/")
    request.session = SessionStore(session.session_key)
    AuthenticationMiddleware(lambda request: HttpResponse()).process_request(request)
    return request


def test_a_view_that_did_not_ask_has_none_and_its_session_stays_unread() -> None:
    request = with_session(**{SESSION_KEY: "7"})
    assert principal_of(request) is None
    assert not request.session.accessed


def test_a_request_without_session_and_user_has_none() -> None:
    assert principal_of(RequestFactory().get("/")) is None
    assert principal_of(None) is None


def test_after_the_view_read_the_session_it_is_the_user_who_is_logged_in() -> None:
    request = with_session(**{SESSION_KEY: "7"})
    request.session.get("anything")
    assert principal_of(request) == "user:7"


def test_or_the_session_where_nobody_is() -> None:
    request = with_session(cart="full")
    request.session.get("cart")
    # The same before it owns a run as after, and not the key itself, which is a secret.
    found = principal_of(request)
    assert found == owner_of(request) == principal_of(request)
    assert str(request.session.session_key) not in str(found)


def test_a_session_that_was_never_saved_is_nobodys() -> None:
    request = RequestFactory().get("/")
    request.session = SessionStore()
    request.session.get("cart")
    assert principal_of(request) is None


@pytest.mark.parametrize(
    ("user", "principal"),
    [(User(pk=7), "user:7"), (User(), None), (AnonymousUser(), None)],
    ids=["user", "without a key", "anonymous"],
)
def test_a_user_that_a_middleware_for_tokens_has_set(user: User, principal: str | None) -> None:
    request = RequestFactory().get("/")
    request.user = user
    assert principal_of(request) == principal


def test_the_named_owner_of_a_run_comes_before_the_user() -> None:
    request = RequestFactory().get("/")
    request.user = User(pk=7)
    note_named_owner(request, "named:acme")
    assert principal_of(request) == "named:acme"
