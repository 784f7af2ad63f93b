"""Whose a run is: the user's, or, of somebody who is not logged in, the session's."""

from __future__ import annotations

import secrets
from functools import cache
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac
from django.utils.module_loading import import_string

from django_sse import conf
from django_sse.runs.hooks import allows

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

    from django_sse.models import Run

# In the session's data and not its key: that one is a secret, and changes with the log-in, which
# keeps the data. Whoever logs in while an answer is on its way still has it.
_SESSION_KEY = "_django_sse_owner"


def owner_of(request: HttpRequest) -> str:
    """Who starts a run with ``request``; an anonymous one gets a session.

    Raises ``ImproperlyConfigured`` where there is neither.
    """
    if (user := _user(request)) is not None:
        return user
    session = getattr(request, "session", None)
    if session is None:
        raise ImproperlyConfigured(
            "A resumable stream belongs to a user or to a session, and this request has neither: "
            "add django.contrib.sessions.middleware.SessionMiddleware (and, for users, "
            "django.contrib.auth.middleware.AuthenticationMiddleware) to MIDDLEWARE."
        )
    if _SESSION_KEY not in session:
        # Two requests at once must come to the same one, whichever is saved last.
        key = session.session_key or secrets.token_urlsafe(16)
        session[_SESSION_KEY] = salted_hmac("django_sse.owner", key, algorithm="sha256").hexdigest()
    return f"session:{session[_SESSION_KEY]}"


def _user(request: HttpRequest) -> str | None:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    return f"user:{user.pk}"


def _claims(request: HttpRequest) -> set[str]:
    """All that ``request`` can own."""
    session: Any = getattr(request, "session", None)
    token = session.get(_SESSION_KEY) if session is not None else None
    return {each for each in (_user(request), token and f"session:{token}") if each}


async def may_access(request: HttpRequest, run: Run) -> bool:
    """Whether ``run`` exists for who sent ``request``: its owner, or who ``ACCESS`` lets in.

    Raises ``ImmediateHttpResponse`` with a response that ``ACCESS`` returned, and ``TypeError``
    for what is neither yes nor no.
    """
    if run.owner in await sync_to_async(_claims)(request):
        return True
    hook = access_hook()
    if hook is None:
        return False
    name = f'DJANGO_SSE["RUNS"]["ACCESS"] ({conf.current().RUNS.ACCESS})'
    return await allows(name, hook, request, run)


def access_hook() -> Callable[..., Any] | None:
    """What ``ACCESS`` names. Raises ``ImproperlyConfigured``."""
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
