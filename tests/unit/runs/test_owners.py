from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth import login, logout
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponseForbidden

from django_sse.exceptions import ImmediateHttpResponse
from django_sse.models import OWNER_LENGTH, Run
from django_sse.runs.owners import may_access, owner_of
from tests.unit.http.support import asgi_request

pytestmark = [pytest.mark.usefixtures("configure"), pytest.mark.django_db(transaction=True)]


def request_of(user: Any = None, session: Any = None) -> Any:
    """As the middleware leaves it; of somebody without an account unless there is a user."""
    request = asgi_request()
    engine = import_module(django_settings.SESSION_ENGINE)
    request.session = engine.SessionStore() if session is None else session
    request.user = AnonymousUser() if user is None else user
    return request


def share(request: HttpRequest, run: Run, action: str) -> bool:
    return request.GET.get("team") == "red" and run.owner.startswith("user:")


async def ashare(request: HttpRequest, run: Run, action: str) -> bool:
    return share(request, run, action)


def decorated(request: HttpRequest, run: Run, action: str) -> Any:
    """A coroutine function under a decorator that knows nothing of such."""
    return ashare(request, run, action)


class Sharing:
    async def __call__(self, request: HttpRequest, run: Run, action: str) -> bool:
        return share(request, run, action)


sharing = Sharing()


def ask_the_database(request: HttpRequest, run: Run, action: str) -> bool:
    return User.objects.filter(username="anna").exists()


said: list[Any] = [None]


def say_something(request: HttpRequest, run: Run, action: str) -> Any:
    return said[0]


async def asay_something(request: HttpRequest, run: Run, action: str) -> Any:
    return said[0]


NOT_CALLABLE = "something"


# -- who starts a run


def test_a_run_of_somebody_who_is_logged_in_is_the_users() -> None:
    anna = User.objects.create(username="anna")
    request = request_of(anna)
    assert owner_of(request) == f"user:{anna.pk}"
    assert request.session.is_empty()


def test_a_run_of_nobody_known_is_the_sessions() -> None:
    request = request_of()
    owner = owner_of(request)
    assert owner.startswith("session:")
    assert owner_of(request) == owner
    assert owner_of(request_of()) != owner
    # The middleware saves it, and sets the cookie.
    assert request.session.modified


def test_the_key_of_the_session_is_not_told() -> None:
    request = request_of()
    request.session.create()
    owner = owner_of(request)
    assert request.session.session_key not in owner
    assert len(owner) <= OWNER_LENGTH


@pytest.mark.parametrize("user", [None, AnonymousUser()])
def test_without_sessions_it_says_what_it_needs(user: Any) -> None:
    request = asgi_request()
    if user is not None:
        request.user = user
    with pytest.raises(ImproperlyConfigured, match=r"SessionMiddleware.*MIDDLEWARE"):
        owner_of(request)


def test_a_users_key_may_be_longer_than_the_column() -> None:
    keys = ["anna@" + "x" * 90 + ".example", "anna@" + "x" * 91 + ".example", "a" * 95, "a" * 96]
    owners = [owner_of(request_of(User(pk=key))) for key in keys]
    assert len(set(owners)) == len(keys)
    assert max(map(len, owners)) <= OWNER_LENGTH
    assert owners[2] == f"user:{keys[2]}"
    assert owners == [owner_of(request_of(User(pk=key))) for key in keys]
    # A key that looks like another one's hash is not its owner.
    forged = owners[0].partition(":")[2]
    assert owner_of(request_of(User(pk=forged))) != owners[0]


def test_a_user_without_a_session_is_enough() -> None:
    request = asgi_request()
    request.user = User.objects.create(username="anna")
    assert owner_of(request) == f"user:{request.user.pk}"


# -- who may have it


async def test_the_owner_has_it_and_nobody_else() -> None:
    anna = await User.objects.acreate(username="anna")
    ben = await User.objects.acreate(username="ben")
    run = Run(owner=owner_of(request_of(anna)))
    assert await may_access(request_of(anna), run, "read")
    for other in (request_of(ben), request_of(), asgi_request()):
        assert not await may_access(other, run, "read")


async def test_a_session_has_its_own_and_no_other() -> None:
    request = request_of()
    run = Run(owner=owner_of(request))
    assert await may_access(request, run, "read")
    assert not await may_access(request_of(), run, "read")
    other = request_of()
    owner_of(other)
    assert not await may_access(other, run, "read")


async def test_who_logs_in_keeps_what_was_begun_before() -> None:
    def log_in() -> Run:
        request.session.create()
        run = Run(owner=owner_of(request))
        before = request.session.session_key
        login(request, anna, "django.contrib.auth.backends.ModelBackend")
        assert request.session.session_key != before
        return run

    anna = await User.objects.acreate(username="anna")
    request = request_of()
    run = await sync_to_async(log_in)()
    assert await may_access(request, run, "read")
    # What she begins from now on is hers, in other sessions, too.
    assert await sync_to_async(owner_of)(request) == f"user:{anna.pk}"


async def test_who_logs_out_has_nothing_any_more() -> None:
    anna = await User.objects.acreate(username="anna")
    request = request_of()
    before = Run(owner=owner_of(request))
    await sync_to_async(login)(request, anna, "django.contrib.auth.backends.ModelBackend")
    after = Run(owner=await sync_to_async(owner_of)(request))
    await sync_to_async(logout)(request)
    assert not await may_access(request, before, "read")
    assert not await may_access(request, after, "read")


@pytest.mark.parametrize("owner", ["", "user:", "session:", "session:None", "user:None"])
async def test_nobody_is_the_owner_of_what_has_none(owner: str) -> None:
    assert not await may_access(request_of(), Run(owner=owner), "read")
    assert not await may_access(asgi_request(), Run(owner=owner), "read")


# -- whom else the project lets in


@pytest.mark.parametrize("name", ["share", "ashare", "decorated", "sharing"])
async def test_the_project_may_let_others_in(configure: Any, name: str) -> None:
    configure(ACCESS=f"{__name__}.{name}")
    run = Run(owner="user:1")
    assert await may_access(asgi_request(path="/?team=red"), run, "read")
    assert not await may_access(asgi_request(path="/?team=blue"), run, "read")
    assert not await may_access(asgi_request(path="/?team=red"), Run(owner="session:1"), "read")


async def test_a_sync_hook_may_use_the_database(configure: Any) -> None:
    configure(ACCESS=f"{__name__}.ask_the_database")
    assert not await may_access(request_of(), Run(owner="user:1"), "read")
    await User.objects.acreate(username="anna")
    assert await may_access(request_of(), Run(owner="user:1"), "read")


@pytest.mark.options(ACCESS="no.such.thing")
async def test_the_owner_is_not_asked_for() -> None:
    request = request_of()
    assert await may_access(request, Run(owner=owner_of(request)), "read")


@pytest.mark.parametrize("name", ["say_something", "asay_something"])
async def test_only_true_is_yes(configure: Any, name: str) -> None:
    configure(ACCESS=f"{__name__}.{name}")
    for said[0], allowed in ((True, True), (False, False), (None, False)):
        assert await may_access(request_of(), Run(owner="user:1"), "read") is allowed


@pytest.mark.parametrize("name", ["say_something", "asay_something"])
async def test_a_response_is_no_yes_but_the_answer(configure: Any, name: str) -> None:
    configure(ACCESS=f"{__name__}.{name}")
    said[0] = HttpResponseForbidden()
    with pytest.raises(ImmediateHttpResponse) as caught:
        await may_access(request_of(), Run(owner="user:1"), "read")
    assert caught.value.response is said[0]


@pytest.mark.parametrize("what", ["yes", "", 1, 0, [], User.objects.none(), User.objects.all()])
@pytest.mark.parametrize("name", ["say_something", "asay_something"])
async def test_anything_else_is_an_error_that_names_the_hook(
    configure: Any, name: str, what: Any
) -> None:
    configure(ACCESS=f"{__name__}.{name}")
    said[0] = what
    with pytest.raises(TypeError, match=rf'"ACCESS".*{name}.*{type(what).__name__}.*True'):
        await may_access(request_of(), Run(owner="user:1"), "read")


@pytest.mark.parametrize("path", ["no.such.thing", f"{__name__}.missing", "nothing"])
async def test_a_hook_that_is_not_there_is_named_with_its_setting(
    configure: Any, path: str
) -> None:
    configure(ACCESS=path)
    with pytest.raises(ImproperlyConfigured, match=rf'"ACCESS".*{path}'):
        await may_access(request_of(), Run(owner="user:1"), "read")


async def test_a_hook_that_cannot_be_called_is_named_with_its_setting(configure: Any) -> None:
    configure(ACCESS=f"{__name__}.NOT_CALLABLE")
    with pytest.raises(ImproperlyConfigured, match=r'"ACCESS".*NOT_CALLABLE.*not callable'):
        await may_access(request_of(), Run(owner="user:1"), "read")


@pytest.mark.django_db
def test_two_requests_of_a_session_at_once_are_of_one_owner() -> None:
    first = SessionStore()
    first.create()
    # Each has read the session before the other one saved it.
    second = SessionStore(first.session_key)
    assert owner_of(request_of(session=first)) == owner_of(request_of(session=second))
    assert str(first.session_key) not in owner_of(request_of(session=first))
