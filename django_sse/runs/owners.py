"""The owner of a run: what the project says (``OWNER``), else the user, else the session."""

from __future__ import annotations

import hashlib
import inspect
import secrets
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_sse import conf
from django_sse.models import OWNER_LENGTH
from django_sse.runs.hooks import allows, ask
from django_sse.trust.principals import SESSION_OWNER, note_named_owner, session_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

    from django_sse.models import Run

Action: TypeAlias = Literal["read", "stop"]

_setting = partial(conf.item, conf.item(conf.NAME, "RUNS"))


def owner_of(request: HttpRequest) -> str:
    """Return the owner of a run that ``request`` starts; an anonymous client gets a session.

    Raises ``ImproperlyConfigured`` if the request has no owner, or a user without a primary key.
    """
    if owner_hook() is not None and (named := async_to_sync(named_owner)(request)) is not None:
        return named
    return _djangos_owner(request)


async def aowner_of(request: HttpRequest) -> str:
    """See ``owner_of``."""
    named = await named_owner(request)
    # A thread, because the user and the session may have to be read from the database.
    return await sync_to_async(_djangos_owner)(request) if named is None else named


def _djangos_owner(request: HttpRequest) -> str:
    return _users_owner(request) or _sessions_owner(request)


async def named_owner(request: HttpRequest) -> str | None:
    """Return the owner that ``OWNER`` names, or None if there is no such function, or it does not
    know the request. Raises what the function raises, such as ``PermissionDenied``.
    """
    hook = owner_hook()
    if hook is None:
        return None
    name = await ask(hook, request)
    if name is None:
        return None
    if not isinstance(name, str) or not name:
        # Only its type: its repr may be a secret.
        said = "an empty str" if name == "" else f"an object of type {type(name).__name__}"
        raise TypeError(
            f"{_setting('OWNER')} ({conf.current().RUNS.OWNER}) returned {said}. Return a str that "
            "names the owner of the request, or None if the function does not know it."
        )
    owner = _stored("named", name)
    # Its streams of runs count as this owner's.
    note_named_owner(request, owner)
    return owner


def _users_owner(request: HttpRequest) -> str | None:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    if user.pk is None:
        raise ImproperlyConfigured(
            f"{type(user).__name__} is authenticated but has no primary key, so all such users "
            f"would share their runs. Set {_setting('OWNER')} to the dotted path of a function "
            "owner(request) that returns what tells them apart, such as the id of an API key."
        )
    return _stored("user", str(user.pk))


def _sessions_owner(request: HttpRequest) -> str:
    session = getattr(request, "session", None)
    if session is None:
        raise ImproperlyConfigured(
            "A resumable stream needs a user or a session as its owner, but this request has "
            "neither. Add django.contrib.sessions.middleware.SessionMiddleware (and, for users, "
            "django.contrib.auth.middleware.AuthenticationMiddleware) to MIDDLEWARE, or set "
            f"{_setting('OWNER')} to a function that knows the request's owner."
        )
    if SESSION_OWNER not in session:
        key = session.session_key or secrets.token_urlsafe(16)
        session[SESSION_OWNER] = session_token(key)
    return f"session:{session[SESSION_OWNER]}"


def _stored(kind: str, name: str) -> str:
    """Return an owner that the column can hold: no longer than it, and only printable characters.

    A hash has another prefix, since a client may choose a name that looks like somebody's hash.
    """
    owner = f"{kind}:{name}"
    if len(owner) <= OWNER_LENGTH and name.isprintable():
        return owner
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return f"hashed-{kind}:{digest}"


def _claims(request: HttpRequest) -> set[str]:
    """Return the owners that ``request`` may act as by its user and its session."""
    user = getattr(request, "user", None)
    has_key = user is not None and user.pk is not None
    session: Any = getattr(request, "session", None)
    token = session.get(SESSION_OWNER) if session is not None else None
    owners = (has_key and _users_owner(request), token and f"session:{token}")
    return {each for each in owners if each}


async def may_access(request: HttpRequest, run: Run, action: Action) -> bool:
    """Return whether ``request`` may read or stop ``run``: as its owner, or because ``ACCESS``
    allows this ``action``.

    Raises ``ImmediateHttpResponse`` if ``ACCESS`` returned a response, and ``TypeError`` if it
    returned anything else but True, False or None.
    """
    if run.owner == await named_owner(request):
        return True
    if run.owner in await sync_to_async(_claims)(request):
        return True
    hook = access_hook()
    if hook is None:
        return False
    name = f"{_setting('ACCESS')} ({conf.current().RUNS.ACCESS})"
    return await allows(name, hook, request, run, action)


def owner_hook() -> Callable[..., Any] | None:
    """Return the function that ``OWNER`` names, or None. Raises ``ImproperlyConfigured``."""
    path = conf.current().RUNS.OWNER
    return None if path is None else _load("OWNER", path, "request")


def access_hook() -> Callable[..., Any] | None:
    """Return the function that ``ACCESS`` names, or None. Raises ``ImproperlyConfigured``."""
    path = conf.current().RUNS.ACCESS
    return None if path is None else _load("ACCESS", path, "request", "run", "action")


@cache
def _load(setting: str, path: str, *arguments: str) -> Callable[..., Any]:
    try:
        found: Any = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"{_setting(setting)}: cannot import {path!r}: {error}"
        ) from None
    if not callable(found):
        raise ImproperlyConfigured(f"{_setting(setting)}: {path!r} is not callable.")
    if not _takes(found, arguments):
        raise ImproperlyConfigured(
            f"{_setting(setting)}: {path!r} must take ({', '.join(arguments)})."
        )
    return found  # type: ignore[no-any-return]


def _takes(function: Callable[..., Any], arguments: tuple[str, ...]) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        # Some functions that are written in C have no signature.
        return True
    return True
