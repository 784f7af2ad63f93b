"""The owner of a run: the user, or the session of a client that is not logged in."""

from __future__ import annotations

import hashlib
import secrets
from functools import cache
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac
from django.utils.module_loading import import_string

from django_sse import conf
from django_sse.models import OWNER_LENGTH
from django_sse.runs.hooks import allows

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

    from django_sse.models import Run

# Stored in the session's data. The session's key would not do: it is a secret, and changes at
# log-in, which keeps the data. A client that logs in during an answer still owns the answer.
_SESSION_KEY = "_django_sse_owner"


def owner_of(request: HttpRequest) -> str:
    """Return the owner of a run that ``request`` starts; an anonymous client gets a session.

    Raises ``ImproperlyConfigured`` if the request has neither a user nor a session.
    """
    if (user := _user(request)) is not None:
        return user
    session = getattr(request, "session", None)
    if session is None:
        raise ImproperlyConfigured(
            "A resumable stream needs a user or a session as its owner, but this request has "
            "neither. Add django.contrib.sessions.middleware.SessionMiddleware (and, for users, "
            "django.contrib.auth.middleware.AuthenticationMiddleware) to MIDDLEWARE."
        )
    if _SESSION_KEY not in session:
        # Derived from the session's key, so that two concurrent requests compute the same owner,
        # whichever of them saves the session last.
        key = session.session_key or secrets.token_urlsafe(16)
        session[_SESSION_KEY] = salted_hmac("django_sse.owner", key, algorithm="sha256").hexdigest()
    return f"session:{session[_SESSION_KEY]}"


def _user(request: HttpRequest) -> str | None:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    owner = f"user:{user.pk}"
    if len(owner) > OWNER_LENGTH:
        # The column cannot hold the key. Another prefix, since a user may choose a key that looks
        # like the hash of somebody else's.
        return f"hashed-user:{hashlib.sha256(str(user.pk).encode()).hexdigest()}"
    return owner


def _claims(request: HttpRequest) -> set[str]:
    """Return all owners that ``request`` may act as."""
    session: Any = getattr(request, "session", None)
    token = session.get(_SESSION_KEY) if session is not None else None
    return {each for each in (_user(request), token and f"session:{token}") if each}


async def may_access(request: HttpRequest, run: Run) -> bool:
    """Return whether ``request`` may access ``run``: as its owner, or because ``ACCESS`` allows it.

    Raises ``ImmediateHttpResponse`` if ``ACCESS`` returned a response, and ``TypeError`` if it
    returned anything else but True, False or None.
    """
    if run.owner in await sync_to_async(_claims)(request):
        return True
    hook = access_hook()
    if hook is None:
        return False
    name = f'DJANGO_SSE["RUNS"]["ACCESS"] ({conf.current().RUNS.ACCESS})'
    return await allows(name, hook, request, run)


def access_hook() -> Callable[..., Any] | None:
    """Return the function that ``ACCESS`` names, or None. Raises ``ImproperlyConfigured``."""
    path = conf.current().RUNS.ACCESS
    return None if path is None else _load(path)


@cache
def _load(path: str) -> Callable[..., Any]:
    try:
        found: Any = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(
            f'DJANGO_SSE["RUNS"]["ACCESS"]: cannot import {path!r}: {error}'
        ) from None
    if not callable(found):
        raise ImproperlyConfigured(f'DJANGO_SSE["RUNS"]["ACCESS"]: {path!r} is not callable.')
    return found  # type: ignore[no-any-return]
