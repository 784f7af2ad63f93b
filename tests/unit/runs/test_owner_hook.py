"""``RUNS["OWNER"]`` and ``RUNS["ACCESS"]``: what a project decides about owners."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest

from django_sse import aowner_of
from django_sse.models import OWNER_LENGTH, Run
from django_sse.runs.owners import access_hook, may_access, owner_hook, owner_of
from tests.unit.http.support import asgi_request
from tests.unit.runs.test_owners import request_of

pytestmark = [pytest.mark.usefixtures("configure"), pytest.mark.django_db(transaction=True)]


class KeyUser:
    """What a library for API keys sets as the user: authenticated, without a row."""

    is_authenticated = True
    pk = None


def by_key(request: HttpRequest) -> Any:
    if (key := request.headers.get("X-Key")) == "revoked":
        raise PermissionDenied("revoked")
    return key


async def aby_key(request: HttpRequest) -> Any:
    return by_key(request)


returned: list[Any] = [None]


def anything(request: HttpRequest) -> Any:
    return returned[0]


def only_reads(request: HttpRequest, run: Run, action: str) -> bool:
    return action == "read"


def without_action(request: HttpRequest, run: Run) -> bool:
    return True


def with_key(key: str, user: Any = None) -> Any:
    request = asgi_request(X_Key=key)
    request.user = user
    return request


hooks = pytest.mark.parametrize("hook", ["by_key", "aby_key"])


# -- users without a primary key


def test_a_user_without_a_primary_key_cannot_own_a_run() -> None:
    # All such users would be "user:None", and would read each other's answers.
    with pytest.raises(ImproperlyConfigured, match=r'KeyUser.*"RUNS"\]\["OWNER"'):
        owner_of(request_of(KeyUser()))


async def test_a_user_without_a_primary_key_has_no_run_of_another_such_user() -> None:
    assert not await may_access(request_of(KeyUser()), Run(owner="user:None"), "read")


async def test_a_user_without_a_primary_key_may_have_access_by_the_hook(configure: Any) -> None:
    configure(ACCESS=f"{__name__}.only_reads")
    assert await may_access(request_of(KeyUser()), Run(owner="user:1"), "read")


# -- OWNER


@hooks
def test_the_hook_names_the_owner(configure: Any, hook: str) -> None:
    configure(OWNER=f"{__name__}.{hook}")
    assert owner_of(with_key("acme", KeyUser())) == "named:acme"
    assert owner_of(with_key("acme")) != owner_of(with_key("other"))


@hooks
async def test_the_hook_names_the_owner_on_an_event_loop(configure: Any, hook: str) -> None:
    configure(OWNER=f"{__name__}.{hook}")
    assert await aowner_of(with_key("acme")) == "named:acme"


@hooks
async def test_a_request_that_the_hook_does_not_know_belongs_to_its_user_or_session(
    configure: Any, hook: str
) -> None:
    configure(OWNER=f"{__name__}.{hook}")
    anna = await User.objects.acreate(username="anna")
    assert await aowner_of(request_of(anna)) == f"user:{anna.pk}"
    assert (await aowner_of(request_of())).startswith("session:")


@hooks
async def test_the_hook_may_refuse_a_request(configure: Any, hook: str) -> None:
    configure(OWNER=f"{__name__}.{hook}")
    with pytest.raises(PermissionDenied):
        await aowner_of(with_key("revoked"))
    with pytest.raises(PermissionDenied):
        await may_access(with_key("revoked"), Run(owner="user:1"), "read")


@hooks
async def test_a_run_is_its_named_owners_and_nobody_elses(configure: Any, hook: str) -> None:
    configure(OWNER=f"{__name__}.{hook}")
    run = Run(owner=await aowner_of(with_key("acme")))
    assert await may_access(with_key("acme"), run, "stop")
    for other in (with_key("other"), request_of(), request_of(User(pk="acme"))):
        assert not await may_access(other, run, "read")


async def test_a_named_owner_is_never_a_user_or_a_session(configure: Any) -> None:
    configure(OWNER=f"{__name__}.by_key")
    anna = await User.objects.acreate(username="anna")
    run = Run(owner=f"user:{anna.pk}")
    assert not await may_access(with_key(run.owner), run, "read")
    assert not await may_access(with_key(str(anna.pk)), run, "read")


async def test_a_name_that_the_column_cannot_hold_is_hashed(configure: Any) -> None:
    configure(OWNER=f"{__name__}.anything")
    names = ["a" * 94, "a" * 95, "a" * 5000, "a" * 4999 + "b", "a\0b", "a\ud800b", "a\nb"]
    owners = []
    for returned[0] in names:
        owners.append(await aowner_of(asgi_request()))
        assert await may_access(asgi_request(), Run(owner=owners[-1]), "read")
    assert len(set(owners)) == len(names)
    assert max(map(len, owners)) <= OWNER_LENGTH
    assert all(owner.isprintable() for owner in owners)
    # A name that looks like another's hash is not that owner.
    returned[0] = owners[1].partition(":")[2]
    assert await aowner_of(asgi_request()) not in owners


@pytest.mark.parametrize("what", ["", b"acme", 7, True, User(username="anna")])
async def test_anything_but_a_name_or_none_is_an_error_that_names_the_setting(
    configure: Any, what: Any
) -> None:
    configure(OWNER=f"{__name__}.anything")
    returned[0] = what
    with pytest.raises(TypeError, match=r'"OWNER".*anything.*returned an.*None'):
        await aowner_of(asgi_request())


# -- ACCESS


async def test_the_access_hook_is_told_the_action(configure: Any) -> None:
    configure(ACCESS=f"{__name__}.only_reads")
    run = Run(owner="user:1")
    assert await may_access(request_of(), run, "read")
    assert not await may_access(request_of(), run, "stop")


def test_a_hook_that_does_not_take_its_arguments_is_named(configure: Any) -> None:
    configure(ACCESS=f"{__name__}.without_action", OWNER=f"{__name__}.only_reads")
    with pytest.raises(ImproperlyConfigured, match=r'"ACCESS".*\(request, run, action\)'):
        access_hook()
    with pytest.raises(ImproperlyConfigured, match=r'"OWNER".*\(request\)'):
        owner_hook()
