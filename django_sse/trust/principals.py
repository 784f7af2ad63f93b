"""The principal of a request: whom ``RUNS["OWNER"]`` named, else the user or the session for which
its view has asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth import SESSION_KEY
from django.utils.crypto import salted_hmac
from django.utils.functional import LazyObject

if TYPE_CHECKING:
    from django.http import HttpRequest


_NAMED = "_django_sse_named_owner"
# Stored in the session's data. The session's key would not do: it is a secret, and changes at
# log-in, which keeps the data. A client that logs in during an answer still owns the answer.
SESSION_OWNER = "_django_sse_owner"


def note_named_owner(request: HttpRequest, owner: str) -> None:
    """Note the owner that ``RUNS["OWNER"]`` named; only the views of runs ask for it."""
    setattr(request, _NAMED, owner)


def principal_of(request: HttpRequest | None) -> str | None:
    """Return the principal of ``request``, or None if neither its view nor a middleware has asked
    who the client is.

    It never asks by itself: that would be a query for each public stream, and add ``Vary: Cookie``
    to its response. So it may be called on an event loop.
    """
    named: str | None = getattr(request, _NAMED, None)
    if named is not None:
        return named
    # A middleware for tokens sets the user. Django's own sets an object that asks when it is used.
    user: Any = getattr(request, "user", None)
    if user is not None and not isinstance(user, LazyObject) and user.is_authenticated:
        return None if user.pk is None else f"user:{user.pk}"
    session: Any = getattr(request, "session", None)
    if session is None or not getattr(session, "accessed", False):
        return None
    # In memory: SessionBase sets ``accessed`` when it loads the session.
    if (user_id := session.get(SESSION_KEY)) is not None:
        return f"user:{user_id}"
    return session_owner(session)


def session_owner(session: Any) -> str | None:
    """Return the owner for an anonymous session, which was read; None if it has no key yet."""
    token = session.get(SESSION_OWNER)
    if token is None and session.session_key is not None:
        token = session_token(session.session_key)
    return None if token is None else f"session:{token}"


def session_token(key: str) -> str:
    """Return what stands for the session with this key, which is a secret.

    Derived from the key, so that two concurrent requests compute the same owner, whichever of them
    saves the session last.
    """
    return salted_hmac("django_sse.owner", key, algorithm="sha256").hexdigest()


def is_personal(request: HttpRequest) -> bool:
    """Whether the answer may depend on who the client is: the project's code has asked for the
    session or the user, or the client sent ``Authorization``.

    A view that asks for neither is public, whatever cookies its clients send.
    """
    session = getattr(request, "session", None)
    if getattr(session, "accessed", False) or "Authorization" in request.headers:
        return True
    user: Any = getattr(request, "user", None)
    if isinstance(user, LazyObject):
        # Of Django's own middleware, which reads the session for it. To look at it here would make
        # every stream personal. A middleware without a session may have read anything.
        return session is None
    return user is not None and bool(user.is_authenticated)
