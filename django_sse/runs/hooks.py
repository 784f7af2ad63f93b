"""Calling a project's own function, sync or async, and interpreting its result."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.http.response import HttpResponseBase

from django_sse.exceptions import ImmediateHttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable


async def ask(hook: Callable[..., Any], *args: Any) -> Any:
    """Return the result of ``hook(*args)``, sync or async; a sync hook may use the database.

    The result is never a coroutine, which would count as true whatever it returned.
    """
    if inspect.iscoroutinefunction(hook):
        return await hook(*args)
    # An async hook under a decorator, or an object with an async __call__, looks sync here.
    result = await sync_to_async(_call)(hook, *args)
    return await result if inspect.isawaitable(result) else result


def _call(hook: Callable[..., Any], *args: Any) -> Any:
    try:
        return hook(*args)
    except StopIteration as error:
        # asyncio refuses to carry it from the thread, so the request would wait for ever (PEP 479).
        name = getattr(hook, "__qualname__", type(hook).__name__)
        raise RuntimeError(f"{name} raised StopIteration: call next() with a default.") from error


async def allows(name: str, hook: Callable[..., Any], *args: Any) -> bool:
    """Return whether ``hook(*args)``, which decides about access, returns ``True``.

    Truth is not enough: nearly every object is true, even a redirect to the log-in page. Raises
    ``ImmediateHttpResponse`` if the hook returns a response, and ``TypeError`` with the hook's
    ``name`` if it returns anything else but ``True``, ``False`` or None.
    """
    said = await ask(hook, *args)
    if said is None or isinstance(said, bool):
        return said is True
    if isinstance(said, HttpResponseBase):
        raise ImmediateHttpResponse(said)
    # Only its type: the repr of a queryset would run a query, and any other may be private.
    raise TypeError(
        f"{name} decides who may read, but returned an object of type {type(said).__name__}. "
        "Return True to allow, False or None to refuse, or a response to send. For a queryset "
        "return queryset.exists(), for any other object bool(...)."
    )
